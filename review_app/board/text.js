// Text as reviewers see it: stored characters made visible, code point offsets, and the difference between two wordings.
// Knows strings and ranges; writes into the page with textContent only.

/** Characters that hide, reorder or break a line unseen: shown as their number. Joiners of scripts and emoji are left alone. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;

/** An element with attributes and children; strings become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** How many code points stand before the first and after the last visible character. */
export function margins(text) {
  const start = Array.from(text).length - Array.from(text.trimStart()).length;
  const end = Array.from(text.trimEnd()).length;
  return { start: Math.min(start, end), end };
}

/** Fills `element` with the stored text from margin to margin; `marks` are [{start, end}] in code points. */
export function write(element, text, marks = [], onMark = null) {
  const points = Array.from(text);
  const { start, end } = margins(text);
  element.replaceChildren();
  let parent = element;
  let run = "";
  let runFrom = start;
  const flush = (until) => {
    if (run) parent.append(make("span", { "data-from": runFrom }, run));
    run = "";
    runFrom = until;
  };
  for (let at = start; at < end; at += 1) {
    const mark = marks.find((one) => one.start <= at && at < one.end);
    const inside = parent === element ? null : parent.mark;
    if (mark !== (inside ?? undefined)) {
      flush(at);
      parent = element;
      if (mark) {
        parent = make("mark", { title: onMark ? "Click to take this mark away" : null, onclick: onMark ? () => onMark(mark) : null });
        parent.mark = mark;
        element.append(parent);
      }
    }
    if (points[at] === "\r" && points[at + 1] === "\n") {
      flush(at + 1);
    } else if (HIDDEN.test(points[at])) {
      flush(at + 1);
      parent.append(make("span", { class: "hidden-sign", "data-from": at, "data-sign": "1" }, name(points[at])));
    } else {
      run += points[at];
    }
  }
  flush(end);
}

function name(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** The code point range {start, end} selected in `element`, grown to whole words, or null. */
export function selected(root, element, text) {
  const selection = root.getSelection ? root.getSelection() : document.getSelection();
  if (!selection) return null;
  const composed = selection.getComposedRanges ? selection.getComposedRanges({ shadowRoots: [root] })[0] : null;
  const range = composed && element.contains(composed.startContainer) ? composed
    : selection.rangeCount ? selection.getRangeAt(0) : null;
  if (!range || range.collapsed || !element.contains(range.startContainer) || !element.contains(range.endContainer)) return null;
  let start = offset(element, range.startContainer, range.startOffset, text);
  let end = offset(element, range.endContainer, range.endOffset, text);
  const points = Array.from(text);
  const bounds = margins(text);
  const word = (at) => at >= bounds.start && at < bounds.end && /[\p{L}\p{N}\p{M}'’-]/u.test(points[at]);
  while (start < end && /\s/u.test(points[start])) start += 1;
  while (end > start && /\s/u.test(points[end - 1])) end -= 1;
  if (start >= end) return null;
  const spaced = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
  while (word(start) && word(start - 1) && !spaced.test(points[start - 1])) start -= 1;
  while (word(end - 1) && word(end) && !spaced.test(points[end])) end += 1;
  return { start, end };
}

/** Where a place in the page is in the stored text, in code points. */
function offset(element, node, within, text) {
  if (node.nodeType !== Node.TEXT_NODE) {
    const next = node.childNodes[within];
    if (next) return offset(element, firstText(next) ?? next, 0, text);
    return node === element || !node.lastChild ? margins(text).end : offset(element, node.lastChild, length(node.lastChild), text);
  }
  const holder = node.parentElement;
  const from = Number(holder.dataset.from);
  if (holder.dataset.sign) return from + (within > 0 ? 1 : 0);
  return from + Array.from(node.data.slice(0, within)).length;
}

function firstText(node) {
  return node.nodeType === Node.TEXT_NODE ? node : document.createTreeWalker(node, NodeFilter.SHOW_TEXT).nextNode();
}

function length(node) {
  return node.nodeType === Node.TEXT_NODE ? node.data.length : node.childNodes.length;
}

/** Word-by-word difference as [{kind: "same" | "gone" | "new", text}]; longest common subsequence. */
export function difference(before, after) {
  const one = before.match(/\s+|[^\s]+/g) ?? [];
  const other = after.match(/\s+|[^\s]+/g) ?? [];
  if (one.length * other.length > 1_000_000) return [{ kind: "gone", text: before }, { kind: "new", text: after }];
  const width = other.length + 1;
  const best = new Uint32Array((one.length + 1) * width);
  for (let row = one.length - 1; row >= 0; row -= 1)
    for (let column = other.length - 1; column >= 0; column -= 1)
      best[row * width + column] = one[row] === other[column] ? best[(row + 1) * width + column + 1] + 1
        : Math.max(best[(row + 1) * width + column], best[row * width + column + 1]);
  const steps = [];
  let [row, column] = [0, 0];
  while (row < one.length || column < other.length) {
    if (row < one.length && column < other.length && one[row] === other[column]) {
      steps.push({ kind: "same", text: one[row] });
      row += 1;
      column += 1;
    } else if (row < one.length && (column === other.length || best[(row + 1) * width + column] >= best[row * width + column + 1])) {
      steps.push({ kind: "gone", text: one[row] });
      row += 1;
    } else {
      steps.push({ kind: "new", text: other[column] });
      column += 1;
    }
  }
  return joined(steps);
}

/** Runs of changed words as one removal and one addition: "a b c" reads better than six fragments. */
function joined(steps) {
  const parts = [];
  let [gone, fresh] = ["", ""];
  const flush = () => {
    if (gone) parts.push({ kind: "gone", text: gone });
    if (fresh) parts.push({ kind: "new", text: fresh });
    [gone, fresh] = ["", ""];
  };
  steps.forEach((step, index) => {
    const between = step.kind === "same" && /^\s+$/.test(step.text) && (gone || fresh) && steps[index + 1]?.kind !== "same"
      && index + 1 < steps.length;
    if (between) {
      gone += step.text;
      fresh += step.text;
    } else if (step.kind === "same") {
      flush();
      if (parts.at(-1)?.kind === "same") parts.at(-1).text += step.text;
      else parts.push({ ...step });
    } else if (step.kind === "gone") gone += step.text;
    else fresh += step.text;
  });
  flush();
  return parts;
}

// Marking words: by pointer, by keys, or by whole sentences; always as places in the stored text, in code points.
// Knows texts, ranges and the page's selection; knows nothing of why something is marked.

import { margins } from "./text.js";

/** Code points around a range within which a sign drawn as one begins and ends. */
const NEAR = 64;
const SPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/** The code point range {start, end} selected in `element`, grown to whole words and whole signs, or null. */
export function selected(root, element, text) {
  const selection = root.getSelection ? root.getSelection() : document.getSelection();
  if (!selection) return null;
  const composed = selection.getComposedRanges ? selection.getComposedRanges({ shadowRoots: [root] })[0] : null;
  const range = composed && element.contains(composed.startContainer) ? composed
    : selection.rangeCount ? selection.getRangeAt(0) : null;
  if (!range || range.collapsed || !element.contains(range.startContainer) || !element.contains(range.endContainer)) return null;
  return grown(text, offset(element, range.startContainer, range.startOffset), offset(element, range.endContainer, range.endOffset));
}

/** A range without blanks at its ends, grown to whole words; what is drawn as one sign is never cut in two. Null for blanks. */
export function grown(text, start, end) {
  const points = Array.from(text);
  const bounds = margins(text);
  const word = (at) => at >= bounds.start && at < bounds.end && /[\p{L}\p{N}\p{M}'’-]/u.test(points[at]);
  while (start < end && /\s/u.test(points[start])) start += 1;
  while (end > start && /\s/u.test(points[end - 1])) end -= 1;
  if (start >= end) return null;
  while (word(start) && word(start - 1) && !SPACED.test(points[start - 1])) start -= 1;
  while (word(end - 1) && word(end) && !SPACED.test(points[end])) end += 1;
  const from = Math.max(0, start - NEAR);
  for (const sign of parts(points.slice(from, end + NEAR).join(""), "grapheme")) {
    const [first, last] = [sign.start + from, sign.end + from];
    if (first >= end) break;
    if (first < start && start < last) start = first;
    if (first < end && end < last) end = last;
  }
  return { start, end };
}

/** The words of a text, for walking over it by keys; signs that are no words, such as emoji, are places of their own. */
export function words(text, lang) {
  return parts(text, "word", lang).filter((one) => one.text.trim());
}

/** The sentences of a text without the blanks around them. */
export function sentences(text, lang) {
  return parts(text, "sentence", lang).flatMap(({ start, text: found }) => {
    const own = found.trim();
    const from = start + Array.from(found.slice(0, found.length - found.trimStart().length)).length;
    return own ? [{ start: from, end: from + Array.from(own).length, text: own }] : [];
  });
}

/** [{start, end, text}] in code points; the browser's segmenter counts code units. */
function parts(text, granularity, lang) {
  const found = [];
  let at = 0;
  for (const { segment } of segmenter(granularity, lang).segment(text)) {
    const end = at + Array.from(segment).length;
    found.push({ start: at, end, text: segment });
    at = end;
  }
  return found;
}

function segmenter(granularity, lang) {
  try {
    return new Intl.Segmenter(lang && lang !== "und" ? lang : undefined, { granularity });
  } catch {
    return new Intl.Segmenter(undefined, { granularity }); // a language tag that the browser does not take
  }
}

/** A place that walks over the words of a text, and how far it reaches. */
export class Cursor {
  constructor(text, lang) {
    this.words = words(text, lang);
    this.sentences = sentences(text, lang);
    this.anchor = 0;
    this.at = 0;
  }

  get range() {
    const [first, last] = [this.words[Math.min(this.anchor, this.at)], this.words[Math.max(this.anchor, this.at)]];
    return { start: first.start, end: last.end, cursor: true };
  }

  /** Goes `by` words on; with `reach` the other end stays. */
  step(by, reach) {
    this.at = Math.min(Math.max(this.at + by, 0), this.words.length - 1);
    if (!reach) this.anchor = this.at;
  }

  /** Takes the sentence that the place is in, or the next or last one where it is taken already; with `reach` it is added. */
  sentence(by, reach) {
    const here = this.words[this.at].start;
    const now = this.sentences.findIndex((one) => one.start <= here && here < one.end);
    const [low, high] = [Math.min(this.anchor, this.at), Math.max(this.anchor, this.at)];
    const inNow = this.inside(now);
    const taken = reach ? inNow.at(by > 0 ? -1 : 0) === this.at : inNow[0] === low && inNow.at(-1) === high;
    const inside = this.inside(Math.min(Math.max(taken ? now + by : now, 0), this.sentences.length - 1));
    if (!inside.length) return;
    if (!reach) this.anchor = by > 0 ? inside[0] : inside.at(-1);
    this.at = by > 0 ? inside.at(-1) : inside[0];
  }

  /** Which words a sentence holds. */
  inside(sentence) {
    const { start, end } = this.sentences[sentence] ?? { start: 0, end: 0 };
    return this.words.flatMap((one, index) => (one.start >= start && one.end <= end ? [index] : []));
  }
}

/** Where a place in the page is in the stored text, in code points. */
function offset(element, node, within) {
  if (node.nodeType !== Node.TEXT_NODE) {
    const next = node.childNodes[within];
    if (next) return offset(element, firstText(next) ?? next, 0);
    return node === element || !node.lastChild ? Number(element.dataset.until) : offset(element, node.lastChild, ending(node.lastChild));
  }
  return Number(node.parentElement.dataset.from) + Array.from(node.data.slice(0, within)).length;
}

function firstText(node) {
  return node.nodeType === Node.TEXT_NODE ? node : document.createTreeWalker(node, NodeFilter.SHOW_TEXT).nextNode();
}

function ending(node) {
  return node.nodeType === Node.TEXT_NODE ? node.data.length : node.childNodes.length;
}

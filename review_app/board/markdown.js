// The little Markdown that guidelines are written in, as elements: headings, lists, paragraphs, bold, italic, code and links.
// Knows text nodes only: no HTML is read, no picture is fetched, and what is not understood stands as it was written.

import { make } from "./text.js";

const INLINE = /\*\*(.+?)\*\*|\*(.+?)\*|`([^`]+)`|\[([^\]]+)\]\((https?:\/\/[^)\s]+|mailto:[^)\s]+)\)/su;
const MARKER = { ul: /^ {0,3}[-*+] +/, ol: /^ {0,3}\d{1,9}[.)] +/ };
/** The help's own title is an h2: what the guidelines call their first heading stands under it. */
const HIGHEST = 3;

/** The elements of a text. */
export function blocks(text) {
  const found = [];
  for (const part of text.replaceAll("\r\n", "\n").split(/\n{2,}/)) {
    let lines = part.split("\n").filter((line) => line.trim());
    while (lines.length) {
      const taken = heading(lines) ?? list(lines) ?? paragraph(lines);
      found.push(taken.element);
      lines = lines.slice(taken.count);
    }
  }
  return found;
}

function heading(lines) {
  const [, marks, words] = /^ {0,3}(#{1,6}) +(.*?)#*$/.exec(lines[0]) ?? [];
  if (!marks) return null;
  return { element: make(`h${Math.min(6, Math.max(HIGHEST, marks.length + 1))}`, { dir: "auto" }, ...inline(words.trim())), count: 1 };
}

/** Points that follow one another; a line without a mark of its own goes on with the point before it. */
function list(lines) {
  const kind = Object.keys(MARKER).find((one) => MARKER[one].test(lines[0]));
  if (!kind) return null;
  const points = [];
  let count = 0;
  for (const line of lines) {
    if (MARKER[kind].test(line)) points.push(line.replace(MARKER[kind], ""));
    else if (begins(line)) break;
    else points[points.length - 1] += ` ${line.trim()}`;
    count += 1;
  }
  return { element: make(kind, { dir: "auto" }, ...points.map((point) => make("li", {}, ...inline(point)))), count };
}

function paragraph(lines) {
  let count = 1;
  while (count < lines.length && !begins(lines[count])) count += 1;
  return { element: make("p", { dir: "auto" }, ...inline(lines.slice(0, count).map((line) => line.trim()).join(" "))), count };
}

function begins(line) {
  return /^ {0,3}#{1,6} /.test(line) || Object.values(MARKER).some((mark) => mark.test(line));
}

function inline(text) {
  const found = INLINE.exec(text);
  if (!found) return text ? [text] : [];
  const [whole, bold, italic, code, words, address] = found;
  const made = bold ? make("strong", {}, ...inline(bold)) : italic ? make("em", {}, ...inline(italic)) : code ? make("code", {}, code)
    : make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, words);
  return [...(found.index ? [text.slice(0, found.index)] : []), made, ...inline(text.slice(found.index + whole.length))];
}

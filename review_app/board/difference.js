// The difference between two wordings, word by word. Knows strings only.

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

// The words of the board in the language of who reviews. The page hands them over at mount; English is written in the scripts.
// Knows sentences, numbers and plurals; knows nothing of items: what a model wrote is never translated.

let spoken = { language: "en", locale: "en", dir: "ltr", words: {}, plurals: ["one", "other"] };

/** From now on the board speaks as `given` says: {language, locale, dir, words, plurals}; nothing given is English. */
export function speakAs(given) {
  spoken = { ...spoken, ...given };
}

/** The language's tag for Intl. */
export function locale() {
  return spoken.locale;
}

/** A sentence; `{names}` in it are filled with `values`. */
export function tr(words, values = null) {
  return filled(spoken.words[words] ?? words, values);
}

/** A sentence that changes with a number, which stands in it as `{count}`. */
export function trn(one, many, count, values = null) {
  const forms = spoken.words[one];
  const form = forms ? forms[spoken.plurals.indexOf(new Intl.PluralRules(spoken.locale).select(count))] ?? forms.at(-1) : count === 1 ? one : many;
  return filled(form, { count: number(count), ...values });
}

/**
 * A sentence with elements in it: [text, element, text, ...], for a place where `{names}` are filled with elements. So that a language
 * may order them as it likes.
 */
export function trParts(sentence, elements) {
  return sentence.split(/\{(\w+)\}/).map((part, index) => (index % 2 ? elements[part] : part)).filter((part) => part !== "");
}

/** A number with the separators of the language. */
export function number(amount) {
  return amount.toLocaleString(spoken.locale);
}

/** "A, B and C"; English without a comma before its "and". */
export function listed(names) {
  return new Intl.ListFormat(spoken.locale === "en" ? "en-GB" : spoken.locale, { type: "conjunction" }).format(names);
}

/** Languages by their names in the language of the board. */
export function languageNames(codes) {
  const names = new Intl.DisplayNames([spoken.locale], { type: "language" });
  return codes.map((code) => names.of(code));
}

/** Words that stand in a table instead of at the call; catalogue.py knows which. */
export function stored(words) {
  return spoken.words[words] ?? words;
}

function filled(words, values) {
  return values ? words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole)) : words;
}

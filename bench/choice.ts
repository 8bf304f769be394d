/** What --only means. */

/** Cases whose name holds the text, or some of several with commas between; just one when a text is its whole name. */
export function namedLike<C extends { readonly name: string }>(cases: readonly C[], only: string): readonly C[] {
  const texts = only
    .toLowerCase()
    .split(",")
    .map((text) => text.trim())
    .filter(Boolean);
  return cases.filter(({ name }) =>
    texts.some((text) => {
      const exact = cases.some((other) => other.name.toLowerCase() === text);
      return exact ? name.toLowerCase() === text : name.toLowerCase().includes(text);
    }),
  );
}

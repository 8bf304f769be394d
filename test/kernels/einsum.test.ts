import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { einsum, eye, type Shape, type Tensor, tensor, zeros } from "../../src/index.ts";
import { at, count, dyadic, general, indices, numbers, plainNumbers, tensorOf } from "../arbitraries.ts";
import { hasRightGradient } from "../suite.ts";

/** A term of an equation: letters, and where among them "..." stands, for how many dims. */
interface Term {
  readonly letters: readonly string[];
  readonly dotsAt: number | null;
  readonly dots: number;
  /** Whether each dim of "..." has size 1, to be repeated. */
  readonly thin: readonly boolean[];
}

/** An equation apart from its text, so that the loops below do not parse. */
interface Equation {
  readonly terms: readonly Term[];
  /** null: no arrow. The dims of "..." are called "0", "1", …, counted from the last one. */
  readonly output: readonly string[] | null;
  readonly sizes: Readonly<Record<string, number>>;
}

/** The names of a term's dims in order. */
function namesOf({ letters, dotsAt, dots }: Term): string[] {
  const hidden = Array.from({ length: dots }, (_, i) => String(dots - 1 - i));
  return dotsAt === null ? [...letters] : [...letters.slice(0, dotsAt), ...hidden, ...letters.slice(dotsAt)];
}

const isDot = (name: string): boolean => /\d/.test(name);

function shapeOf(term: Term, sizes: Equation["sizes"]): number[] {
  return namesOf(term).map((name) => (isDot(name) && term.thin[Number(name)] ? 1 : sizes[name]));
}

/** The text of an equation. The names of "..." stand together, so the first of them becomes the dots. */
function textOf({ terms, output }: Equation): string {
  const left = terms.map(({ letters, dotsAt }) =>
    dotsAt === null ? letters.join("") : `${letters.slice(0, dotsAt).join("")}...${letters.slice(dotsAt).join("")}`,
  );
  if (output === null) return left.join(",");
  const first = output.findIndex(isDot);
  const right = output.flatMap((name, i) => (i === first ? ["..."] : isDot(name) ? [] : [name]));
  return `${left.join(",")}->${right.join("")}`;
}

/** The equation as it reads: for every value of every letter, the product of the operands is added to one cell. */
function naive({ terms, output, sizes }: Equation, operands: readonly Tensor[]): { shape: number[]; data: number[] } {
  const names = [...new Set(terms.flatMap(namesOf))];
  const all = terms.flatMap(namesOf);
  const right = output ?? [
    ...names.filter(isDot).sort((a, b) => Number(b) - Number(a)),
    ...names.filter((name) => !isDot(name) && all.indexOf(name) === all.lastIndexOf(name)).sort(),
  ];
  // A dim of "..." that is thin in all operands has size 1.
  const size = (name: string): number =>
    isDot(name) && !terms.some((term) => namesOf(term).includes(name) && !term.thin[Number(name)]) ? 1 : sizes[name];
  const shape = right.map(size);
  const data = new Array<number>(count(shape)).fill(0);
  for (const place of indices(names.map(size))) {
    const numberOf = (name: string): number => place[names.indexOf(name)];
    const product = terms.reduce((p, term, i) => {
      const cell = namesOf(term).map((name, d) => (isDot(name) && operands[i].shape[d] === 1 ? 0 : numberOf(name)));
      return p * at(operands[i], cell);
    }, 1);
    data[right.reduce((flat, name, d) => flat * shape[d] + numberOf(name), 0)] += product;
  }
  return { shape, data };
}

const sizesArb = fc.record(
  Object.fromEntries(
    ["a", "b", "c", "D", "0", "1"].map((name) => [
      name,
      fc.oneof({ weight: 12, arbitrary: fc.integer({ min: 1, max: 3 }) }, { weight: 1, arbitrary: fc.constant(0) }),
    ]),
  ),
);

const termArb = (maxLetters: number): fc.Arbitrary<Term> =>
  fc
    .record({
      letters: fc.array(fc.constantFrom("a", "b", "c", "D"), { maxLength: maxLetters }),
      place: fc.option(fc.nat(maxLetters), { freq: 2 }),
      dots: fc.nat(2),
      thin: fc.tuple(fc.boolean(), fc.boolean()),
    })
    .map(({ letters, place, dots, thin }) => ({
      letters,
      dotsAt: place === null ? null : Math.min(place, letters.length),
      dots: place === null ? 0 : dots,
      thin,
    }));

/** The right side: nothing, or some of the letters in any order, with the dims of "..." together or left out. */
function outputArb(terms: readonly Term[]): fc.Arbitrary<string[] | null> {
  const names = [...new Set(terms.flatMap(namesOf))];
  const dots = names.filter(isDot).sort((a, b) => Number(b) - Number(a));
  const letters = names.filter((name) => !isDot(name));
  const some = fc.record({
    kept: fc.shuffledSubarray(letters),
    place: fc.nat(letters.length),
    withDots: fc.integer({ min: 0, max: 3 }),
  });
  return fc.option(
    some.map(({ kept, place, withDots }) =>
      withDots === 0 ? kept : [...kept.slice(0, place), ...dots, ...kept.slice(place)],
    ),
  );
}

const equations = ({ maxOperands = 3, maxLetters = 3 } = {}): fc.Arbitrary<Equation> =>
  fc
    .array(termArb(maxLetters), { minLength: 1, maxLength: maxOperands })
    .chain((terms) => fc.record({ terms: fc.constant(terms), output: outputArb(terms), sizes: sizesArb }));

const cases = (element: fc.Arbitrary<number>, options?: Parameters<typeof equations>[0]) =>
  equations(options).chain((equation) =>
    fc.record({
      equation: fc.constant(equation),
      operands: fc.tuple(...equation.terms.map((term) => tensorOf(shapeOf(term, equation.sizes), element))),
    }),
  );

describe("einsum", () => {
  test("is the loop over all letters that the equation stands for", () => {
    fc.assert(
      fc.property(cases(dyadic), ({ equation, operands }) => {
        const y = einsum(textOf(equation), ...operands);
        const expected = naive(equation, operands);
        expect(y.shape).toEqual(expected.shape);
        // Dyadic numbers: every product and sum is exact.
        expect(plainNumbers(y)).toEqual(expected.data.map((v) => v + 0));
      }),
      { numRuns: 300 },
    );
  });

  hasRightGradient(
    "einsum",
    cases(general, { maxOperands: 3, maxLetters: 2 })
      .filter(({ operands }) => {
        const sizes = operands.map((x) => x.size);
        return sizes.every((n) => n > 0) && sizes.reduce((a, b) => a + b, 0) <= 12;
      })
      .map(({ equation, operands }) => ({ f: (...xs: Tensor[]) => einsum(textOf(equation), ...xs), inputs: operands })),
    { numRuns: 20 },
  );

  test("the order of the operands does not matter, nor do spaces or what the letters are", () => {
    fc.assert(
      fc.property(cases(dyadic, { maxOperands: 2 }), ({ equation, operands }) => {
        const y = einsum(textOf(equation), ...operands);
        const turned = { ...equation, terms: equation.terms.toReversed() };
        expect(plainNumbers(einsum(textOf(turned), ...operands.toReversed()))).toEqual(plainNumbers(y));
        const spaced = textOf(equation).replace(",", " , ").replace("->", " -> ");
        expect(plainNumbers(einsum(spaced, ...operands))).toEqual(plainNumbers(y));
        // Letters that keep their order in the alphabet, on which an equation without an arrow depends.
        const renamed = textOf(equation).replace(/[abcD]/g, (l) => ({ a: "i", b: "x", c: "z", D: "K" })[l] as string);
        expect(plainNumbers(einsum(renamed, ...operands))).toEqual(plainNumbers(y));
      }),
      { numRuns: 50 },
    );
  });

  test("says what other ops say: products, diagonals, traces, transposes, sums and outer products", () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    const v = tensor([5, 7]);
    const same: [equation: string, operands: Tensor[], expected: Tensor][] = [
      ["ij,jk->ik", [x, x], x.matmul(x)],
      ["ij,jk", [x, x], x.matmul(x)],
      ["ij,j->i", [x, v], x.matmul(v)],
      ["ji", [x], x.transpose()],
      ["ij->ji", [x], x.transpose()],
      ["ii->i", [x], tensor([1, 4])],
      ["ii->", [x], tensor(5)],
      ["ii", [x], tensor(5)],
      ["ij->", [x], x.sum()],
      ["i,j->ij", [v, v], v.reshape([2, 1]).mul(v)],
      ["i,i", [v, v], tensor(74)],
      ["...i,...i->...", [x, x], tensor([5, 25])],
      ["ij,jk,kl->il", [x, x, x], x.matmul(x).matmul(x)],
      ["->", [tensor(3)], tensor(3)],
      [",->", [tensor(3), tensor(4)], tensor(12)],
      ["ijij->", [eye(4).reshape([2, 2, 2, 2])], tensor(4)],
    ];
    for (const [equation, operands, expected] of same) {
      const y = einsum(equation, ...operands);
      expect([equation, y.toArray()]).toEqual([equation, expected.toArray()]);
    }
  });

  test("routes as the papers write it: dispatch, experts and combine with one-hot tables", () => {
    const x = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    // Token 0 and 2 to expert 1, token 1 to expert 0; W multiplies by 10 and by 100.
    const table = tensor(Int32Array.of(1, 0, 1)).oneHot(2);
    const w = tensor([10, 100]).reshape([2, 1, 1]).mul(eye(2));
    expect(einsum("te,td,edf->tf", table, x, w).toArray()).toEqual([
      [100, 200],
      [30, 40],
      [500, 600],
    ]);
  });

  test("keeps the dims of ... in order, however many there are", () => {
    const shape: Shape = [2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3];
    const x = tensor(Float32Array.from({ length: 6 }, (_, i) => i)).reshape(shape);
    for (const equation of ["...", "...->..."]) {
      expect(einsum(equation, x).shape).toEqual(shape);
      expect(numbers(einsum(equation, x))).toEqual(numbers(x));
    }
  });

  test("refuses equations that do not fit their operands", () => {
    const [x, v] = [zeros([2, 3]), zeros([3])];
    const range = (equation: string, rest: string) =>
      new RangeError(`einsum: the equation ${JSON.stringify(equation)} has ${rest}`);
    const refused: [() => Tensor, Error][] = [
      [() => einsum("ij,jk->ik", x), range("ij,jk->ik", "2 terms, expected 1 (one per operand)")],
      [() => einsum("ij", x, v), range("ij", "1 terms, expected 2 (one per operand)")],
      [() => einsum("i", x), range("i", '1 letters in "i", expected 2 (operand 0 has shape [2, 3])')],
      [() => einsum("ijk...", x), range("ijk...", '3 letters in "ijk...", expected 2 (operand 0 has shape [2, 3])')],
      [
        () => einsum("ij,i->j", x, v),
        range("ij,i->j", 'sizes 2 and 3 for "i", expected one (operand 1 has shape [3])'),
      ],
      [() => einsum("ii->i", x), range("ii->i", 'sizes 2 and 3 for "i", expected one (operand 0 has shape [2, 3])')],
      [() => einsum("ij->k", x), range("ij->k", '"k" on the right, expected letters that stand on the left')],
      [() => einsum("ij->ii", x), range("ij->ii", "a letter twice on the right, expected each once")],
      [() => einsum("ij->i->j", x), range("ij->i->j", "several ->, expected one")],
      [() => einsum("i1->i", x), range("i1->i", 'the term "i1", expected letters, and at most one ...')],
      [() => einsum("..i", x), range("..i", 'the term "..i", expected letters, and at most one ...')],
      [() => einsum("...i...", x), range("...i...", 'the term "...i...", expected letters, and at most one ...')],
      [() => einsum("ij->i.", x), range("ij->i.", 'the term "i.", expected letters, and at most one ...')],
    ];
    for (const [call, error] of refused) expect(call).toThrow(error);
    expect(() => einsum("...i,...i", zeros([2, 3]), zeros([3, 3]))).toThrow(RangeError);
  });

  test("refuses what is no equation, no operand or of another dtype", () => {
    const x = zeros([2, 2]);
    expect(() => einsum("")).toThrow(
      new TypeError("einsum: the list of operands has no entry, expected at least one tensor"),
    );
    expect(() => einsum(5 as unknown as string, x)).toThrow(
      new TypeError('einsum: the equation has 5, expected a string such as "ij,jk->ik"'),
    );
    expect(() => einsum("ij,jk", x, zeros([2, 2], { dtype: "float64" }))).toThrow(TypeError);
    expect(() => einsum("ij,jk", zeros([2, 2], { dtype: "int32" }), zeros([2, 2], { dtype: "int32" }))).toThrow(
      TypeError,
    );
  });
});

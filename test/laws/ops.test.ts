/** The laws of ops see functions that are deliberately wrong. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { customOp, type Tensor, tensor } from "../../src/index.ts";
import { type CheckOpOptions, checkOp, dyadic, type OpUnderTest, opLaws, tensorOf } from "../../src/laws/index.ts";
import { catches, type Fault } from "./caught.ts";

/** The square, with a derivative to be spoilt. */
const square = (vjp: (g: Tensor, x: Tensor) => Tensor): OpUnderTest =>
  customOp({ forward: (x: Tensor) => x.square(), vjp: (g, { inputs: [x] }) => [vjp(g, x)] });

const rightSquare = square((g, x) => g.mul(x).mul(2));

/** The forbidden: a tensor's numbers, written to. */
function scribble(x: Tensor): void {
  x.data[0] += 1;
}

/** What an op must not have: something that outlives its calls. */
let calls = 0;

const rows = tensorOf([3]).map((x) => [x]);
const tables = tensorOf([2, 3]).map((x) => [x]);
/** Numbers away from 0, where the faults below are plain to see. */
const away = fc.array(
  fc.integer({ min: 8, max: 24 }).map((n) => n / 8),
  { minLength: 3, maxLength: 3 },
);

const faults: readonly (Omit<Fault, "check"> & { op: OpUnderTest; options?: Partial<CheckOpOptions> })[] = [
  {
    name: "remembers its last call",
    law: "same bits again",
    says: /\[0\. 0\. 0\.\]\n {2}then\n {2}\[1\. 1\. 1\.\]/,
    op: (x: Tensor) => x.add(calls++ % 2),
  },
  {
    name: "gives −0 and 0 by turns",
    law: "same bits again",
    says: /\[0\. 0\. 0\.\]\n {2}then\n {2}\[-0\. -0\. -0\.\]/,
    op: (x: Tensor) => x.mul(calls++ % 2 === 0 ? 0 : -0),
    options: { inputs: away.map((list) => [tensor(list)]) },
  },
  {
    name: "writes to its input",
    law: "inputs stay",
    says: /input 0 was float32 \[3\] .* and is float32 \[3\] /,
    op(x: Tensor) {
      scribble(x);
      return x.square();
    },
  },
  {
    name: "writes to its input in backward",
    law: "inputs stay",
    says: /input 0 was .* and is /,
    op: square((g, x) => {
      scribble(x);
      return g.mul(x).mul(2);
    }),
  },
  {
    name: "writes to its input in float64",
    law: "inputs stay",
    says: /input 0 was float64 \[3\] .* and is float64 \[3\] /,
    op(x: Tensor) {
      if (x.dtype === "float64") scribble(x);
      return x.square();
    },
  },
  {
    name: "writes to integers that it looks up",
    law: "inputs stay",
    says: /input 1 was int32 \[2\] 0,1 and is int32 \[2\] 1,1/,
    op(x: Tensor, places: Tensor) {
      const y = x.indexSelect(0, places);
      scribble(places);
      return y;
    },
    options: { inputs: tensorOf([3]).map((x) => [x, tensor(Int32Array.from([0, 1]))]) },
  },
  {
    name: "forgets a factor of its derivative",
    law: "gradient",
    says: /: (-?[\d.]+) by backward, .* by difference/,
    op: square((g, x) => g.mul(x)),
  },
  {
    name: "has no derivative, where it has one",
    law: "gradient",
    says: /: 0 by backward/,
    op: (x: Tensor) => x.detach().square(),
  },
  {
    name: "has a derivative that cannot be differentiated",
    law: "second gradient",
    says: /of input 0: .* by backward, .* by difference/,
    op: square((g, x) => g.mul(x.detach()).mul(2)),
  },
  {
    name: "sums from the same end on the way back",
    law: "adjoint",
    says: /⟨pullback\(g\), v⟩ = .*, ⟨g, f\(v\)⟩ = /,
    op: customOp({ forward: (x: Tensor) => x.cumsum(0), vjp: (g) => [g.cumsum(0)] }),
    options: { linear: true },
  },
  {
    name: "transposes on the way only",
    law: "adjoint",
    says: /⟨pullback\(g\), v⟩ = /,
    op: customOp({
      forward: (x: Tensor) => x.transpose().reshape([6]),
      vjp: (g) => [g.reshape([2, 3])],
    }),
    options: { linear: true, inputs: tables },
  },
  {
    name: "is said to be linear, and bends at 0",
    law: "adjoint",
    says: /⟨pullback\(g\), v⟩ = /,
    op: (x: Tensor) => x.relu(),
    options: { linear: true },
  },
];

describe("an op that", () => {
  catches(
    faults.map(({ op, options, ...fault }) => ({
      ...fault,
      check: (o) => checkOp(op, { inputs: rows, ...options, ...o }),
    })),
    opLaws,
    /\n {2}\[\d(, \d)*\] \[/,
  );
});

describe("checkOp", () => {
  const fixed = { numRuns: 5, seed: 1 };
  const held = (op: OpUnderTest, options: Partial<CheckOpOptions> = {}): boolean =>
    checkOp(op, { inputs: rows, ...fixed, ...options }).every((result) => result.ok);

  test("finds nothing to say of right ops", () => {
    expect(held(rightSquare)).toBe(true);
    expect(held((x: Tensor) => x.cumsum(0), { linear: true })).toBe(true);
  });

  test("passes integers on", () => {
    const places = fc.constant(tensor(Int32Array.from([2, 0, 0])));
    const inputs = fc.tuple(tensorOf([3], dyadic), places);
    expect(held((x: Tensor, at: Tensor) => x.indexSelect(0, at), { inputs, linear: true })).toBe(true);
  });

  test("asks for no second derivative where none is promised", () => {
    const once = square((g, x) => g.mul(x.detach()).mul(2));
    expect(held(once, { smooth: false })).toBe(true);
  });

  test("is as strict as it is told", () => {
    const rough = square((g, x) => g.mul(x).mul(2 + 1e-4));
    const options = { inputs: rows, ...fixed, only: ["gradient"], raiseException: false };
    expect(checkOp(rough, options)[0].ok).toBe(false);
    expect(checkOp(rough, { ...options, atol: 1e-2 })[0].ok).toBe(true);
    expect(checkOp(rough, { ...options, rtol: 1e-3 })[0].ok).toBe(true);
  });

  test("tries 25 cases when nothing is said", () => {
    const [result] = checkOp(rightSquare, { inputs: rows, only: ["same bits again"], numRuns: undefined });
    expect(result.runs).toBe(25);
  });

  test("refuses what is no function", () => {
    expect(() => checkOp(3 as never, { inputs: rows })).toThrow(
      new TypeError("checkOp: op has 3, expected a function of tensors"),
    );
  });
});

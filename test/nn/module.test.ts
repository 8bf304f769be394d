/** Module: names, state, and modes of a tree of parameters. */
import { describe, expect, test } from "vitest";
import { Linear, Module, SGD, Tensor, tensor, zeros } from "../../src/index.ts";
import { numbers } from "../arbitraries.ts";

const leaf = (...data: number[]): Tensor => tensor(data, { requiresGrad: true });

/** Parameters before and after modules, a buffer, lists in lists, and fields that hold no tensor. */
class Tree extends Module {
  readonly scale = leaf(1, 2);
  readonly name = "tree";
  readonly blocks = [new Linear(2, 3), [new Linear(3, 1, { bias: false })]];
  readonly running = tensor([7]);
  readonly absent: Tensor | null = null;
  readonly last = leaf(3);

  forward(x: Tensor): Tensor {
    return x.mul(this.scale);
  }
}

describe("names", () => {
  test("are field names in order of declaration, lists by index", () => {
    const tree = new Tree();
    expect([...tree.namedTensors()].map(([name]) => name)).toEqual([
      "scale",
      "blocks.0.weight",
      "blocks.0.bias",
      "blocks.1.0.weight",
      "running",
      "last",
    ]);
    expect([...tree.namedTensors("model.")].map(([name]) => name)[1]).toBe("model.blocks.0.weight");
  });

  test("of parameters leave buffers out, whose tensors collect no gradient", () => {
    const tree = new Tree();
    expect(tree.namedParameters().map(([name]) => name)).not.toContain("running");
    expect(tree.parameters()).toHaveLength(5);
    expect(tree.parameters()[0]).toBe(tree.scale);
  });

  test("are the fields' names, whatever order they are assigned in later", () => {
    class Late extends Module {
      readonly first: Tensor;
      readonly second: Tensor;
      constructor() {
        super();
        this.second = leaf(2);
        this.first = leaf(1);
      }
    }
    expect(Object.keys(new Late().stateDict())).toEqual(["first", "second"]);
  });

  test("a shared tensor has a name in each place, and is one parameter", () => {
    class Tied extends Module {
      readonly inner = new Linear(2, 2, { bias: false });
      readonly outer = this.inner;
      readonly again = this.inner.weight;
    }
    const tied = new Tied();
    expect(tied.namedParameters().map(([name]) => name)).toEqual(["inner.weight", "outer.weight", "again"]);
    expect(tied.parameters()).toHaveLength(1);
    expect(tied.parameters()[0]).toBe(tied.inner.weight);
  });
});

describe("stateDict", () => {
  test("holds parameters and buffers by name, off the graph", () => {
    const tree = new Tree();
    const dict = tree.stateDict();
    expect(Object.keys(dict)).toEqual([...tree.namedTensors()].map(([name]) => name));
    expect(numbers(dict.running)).toEqual([7]);
    for (const x of Object.values(dict)) expect(x.requiresGrad).toBe(false);
  });

  test("is a snapshot: later steps and loads do not change it", () => {
    const tree = new Tree();
    const dict = tree.stateDict();
    tree.scale.grad = tensor([1, 1]);
    new SGD(tree.parameters(), { lr: 1 }).step();
    expect(numbers(tree.scale)).toEqual([0, 1]);
    expect(numbers(dict.scale)).toEqual([1, 2]);
    tree.loadStateDict({ ...dict, scale: tensor([5, 6]) });
    expect(numbers(tree.scale)).toEqual([5, 6]);
    expect(numbers(dict.scale)).toEqual([1, 2]);
  });
});

describe("loadStateDict", () => {
  const values = (tree: Module): number[][] => [...tree.namedTensors()].map(([, x]) => numbers(x));

  test("copies: the module is as the other was, and keeps its own tensors", () => {
    const [from, to] = [new Tree(), new Tree()];
    const { scale } = to;
    const dict = from.stateDict();
    to.loadStateDict(dict);
    expect(values(to)).toEqual(values(from));
    expect(to.scale).toBe(scale);
    expect(to.scale.data).not.toBe(dict.scale.data);
    expect(to.scale.requiresGrad).toBe(true);
  });

  test("takes what another module's stateDict holds in any order", () => {
    const tree = new Tree();
    const reversed = Object.fromEntries(Object.entries(new Tree().stateDict()).reverse());
    tree.loadStateDict(reversed);
    expect(numbers(tree.last)).toEqual(numbers(reversed.last));
  });

  const dict = (): Record<string, Tensor> => new Tree().stateDict();
  const { scale: _scale, last: _last, ...partial } = dict();
  const refusals: [what: string, given: Record<string, Tensor>, error: Error][] = [
    [
      "missing names",
      partial,
      new RangeError("loadStateDict: the dict has no scale, last, expected every name of the module"),
    ],
    [
      "unknown names",
      { ...dict(), more: zeros([1]), other: zeros([1]) },
      new RangeError("loadStateDict: the dict has unknown more, other, expected names of the module only"),
    ],
    [
      "another shape",
      { ...dict(), "blocks.0.weight": zeros([3, 2]) },
      new RangeError("loadStateDict: blocks.0.weight has float32 [3, 2], expected float32 [2, 3]"),
    ],
    [
      "another rank",
      { ...dict(), last: zeros([]) },
      new RangeError("loadStateDict: last has float32 [], expected float32 [1]"),
    ],
    [
      "another dtype",
      { ...dict(), last: zeros([1], { dtype: "float64" }) },
      new TypeError("loadStateDict: last has float64 [1], expected float32 [1]"),
    ],
    [
      "what is no tensor",
      { ...dict(), last: [3] as unknown as Tensor },
      new TypeError("loadStateDict: last has [3], expected a tensor (make one with tensor())"),
    ],
  ];
  test.each(refusals)("refuses %s, and then has changed nothing", (_, given, error) => {
    const tree = new Tree();
    const before = values(tree);
    const versions = tree.parameters().map((p) => p.version);
    const other = Object.fromEntries(Object.entries(given).map(([name, x]) => [name, x]));
    if (other.scale instanceof Tensor) other.scale = tensor([100, 200]);
    expect(() => tree.loadStateDict(other)).toThrow(error);
    expect(values(tree)).toEqual(before);
    expect(tree.parameters().map((p) => p.version)).toEqual(versions);
  });

  test("counts as a change: a graph that read the old numbers does not go backward", () => {
    const tree = new Tree();
    const y = tree.forward(tensor([1, 1])).sum();
    tree.loadStateDict(tree.stateDict());
    expect(() => y.backward()).toThrow(
      new Error(
        "backward: b [2] of mul has been changed by step() or loadStateDict() since it was read, expected the values of the forward pass (run the forward again)",
      ),
    );
  });
});

describe("modes and gradients", () => {
  test("train and eval reach every module of the tree, and give the module back", () => {
    const tree = new Tree();
    const modes = (): boolean[] => [...tree.modules()].map((module) => module.training);
    expect(modes()).toEqual([true, true, true]);
    expect(tree.eval()).toBe(tree);
    expect(modes()).toEqual([false, false, false]);
    expect(tree.train().training).toBe(true);
    expect(modes()).toEqual([true, true, true]);
    tree.train(false);
    expect(modes()).toEqual([false, false, false]);
  });

  test("modules() starts with the module itself, then goes in order of declaration", () => {
    const tree = new Tree();
    const [first, second, third, ...more] = tree.modules();
    expect(more).toEqual([]);
    expect(first).toBe(tree);
    expect(second).toBe(tree.blocks[0]);
    expect(third).toBe((tree.blocks[1] as Linear[])[0]);
  });

  test("zeroGrad makes every gradient null", () => {
    const tree = new Tree();
    tree
      .forward(tensor([1, 1]))
      .sum()
      .backward();
    expect(tree.scale.grad).not.toBeNull();
    tree.zeroGrad();
    for (const p of tree.parameters()) expect(p.grad).toBeNull();
  });
});

test("a module that contains itself has an end", () => {
  class Ring extends Module {
    readonly weight = leaf(1);
    readonly child = new Linear(1, 1, { bias: false });
    readonly self = this;
    readonly list: unknown[] = [];
    next: Module = this;
  }
  const [ring, other] = [new Ring(), new Ring()];
  ring.list.push(ring.list, ring.child);
  ring.next = other;
  other.next = ring;
  expect([...ring.modules()]).toEqual([ring, ring.child, other, other.child]);
  expect(ring.parameters()).toEqual([ring.weight, ring.child.weight, other.weight, other.child.weight]);
  expect(Object.keys(ring.stateDict())).toEqual([
    "weight",
    "child.weight",
    "list.1.weight",
    "next.weight",
    "next.child.weight",
  ]);
  ring.eval();
  expect(other.child.training).toBe(false);
  ring.loadStateDict(ring.stateDict());
  expect(ring.weight.version).toBe(1);
});

/** Checkpoints: what goes on from one computes the digits of a run that never stopped, and a bad one changes nothing. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { defaultGenerator } from "../../src/create.ts";
import {
  Adam,
  AdamW,
  Dropout,
  Generator,
  type Linear,
  manualSeed,
  NormalizedGD,
  type Optimizer,
  type ParameterList,
  type Router,
  SGD,
  type Tensor,
  tensor,
  topKRouter,
} from "../../src/index.ts";
import {
  decodeCheckpoint,
  decodeSafetensors,
  encodeCheckpoint,
  encodeSafetensors,
  loadCheckpoint,
  loadSafetensors,
  type PlainData,
  saveCheckpoint,
  saveSafetensors,
} from "../../src/io/index.ts";
import { newTraining, noisy, type Training } from "./training.ts";

type Make = (params: ParameterList<{ lr: number }>) => Optimizer<{ lr: number }>;

const optimizers: [name: string, make: Make][] = [
  ["SGD", (params) => new SGD(params, { lr: 0.05 })],
  ["SGD with momentum", (params) => new SGD(params, { lr: 0.05, momentum: 0.9, weightDecay: 0.01, nesterov: true })],
  ["NormalizedGD", (params) => new NormalizedGD(params, { lr: 0.05 })],
  ["Adam", (params) => new Adam(params, { lr: 0.05, weightDecay: 0.01 })],
  ["AdamW", (params) => new AdamW(params, { lr: 0.05 })],
];

const routers: [name: string, make: () => Router][] = [
  ["noisy top-k", noisy],
  ["Gumbel noise and random drops", () => topKRouter({ noise: "gumbel", capacityFactor: 0.8, dropPolicy: "random" })],
];

const runs = optimizers.flatMap(([name, make]) =>
  routers.map(([routerName, router]) => [name, routerName, () => newTraining(make, router())] as const),
);

/** Losses of steps `from` … 6 and all numbers at the end. */
function finish(training: Training, from: number): number[] {
  const losses = Array.from({ length: 7 - from }, (_, i) => training.step(from + i));
  return [...losses, ...training.numbers()];
}

describe.each(runs)("%s with a router of %s", (_, __, start) => {
  test("goes on from any step as if it had never stopped, and saving does not show", async () => {
    const never = start();
    const expected = [0, 1, 2, 3, 4].map((step) => [never.step(step)]);
    const end = finish(never, 5);
    const saved = start();
    for (let step = 0; step <= 5; step++) {
      const bytes = await encodeCheckpoint({ ...saved.parts, step });
      const resumed = start();
      // It has gone elsewhere in between: nothing of that may be left.
      resumed.step(0);
      const { step: at } = decodeCheckpoint(bytes, resumed.parts);
      expect(at).toBe(step);
      for (let s = step; s < 5; s++) expect([resumed.step(s)]).toEqual(expected[s]);
      expect(finish(resumed, 5)).toEqual(end);
      if (step < 5) expect([saved.step(step)]).toEqual(expected[step]);
    }
    expect(finish(saved, 5)).toEqual(end);
  });
});

const adamW = (): Training => newTraining((params) => new AdamW(params, { lr: 0.05 }));

describe("a checkpoint", () => {
  test("is of the call, whatever is done before it is there", async () => {
    const training = adamW();
    training.step(0);
    const now = await encodeCheckpoint(training.parts);
    const promise = encodeCheckpoint(training.parts);
    training.step(1);
    expect(await promise).toEqual(now);
  });

  test("of the same state is the same bytes", async () => {
    const [a, b] = [adamW(), adamW()];
    for (const training of [a, b]) for (let step = 0; step < 3; step++) training.step(step);
    expect(await encodeCheckpoint(a.parts)).toEqual(await encodeCheckpoint(b.parts));
  });

  test("has the generator of manualSeed with it", async () => {
    manualSeed(3);
    const dropout = new Dropout(0.5);
    const ones = tensor(new Array<number>(64).fill(1));
    dropout.forward(ones);
    const bytes = await encodeCheckpoint({ dropout });
    const expected = [...dropout.forward(ones).data, defaultGenerator().normal()];
    manualSeed(4);
    decodeCheckpoint(bytes, { dropout });
    expect([...dropout.forward(ones).data, defaultGenerator().normal()]).toEqual(expected);
  });

  test("has settings that were changed on the way", async () => {
    const optimizer = new AdamW([tensor([1], { requiresGrad: true })], { lr: 1 });
    Object.assign(optimizer.groups[0], { lr: 0.1 + 0.2, betas: [0.5, 0.75], weightDecay: 0 });
    const bytes = await encodeCheckpoint({ optimizer });
    const again = new AdamW([tensor([1], { requiresGrad: true })], { lr: 1 });
    decodeCheckpoint(bytes, { optimizer: again });
    const { params: _, ...settings } = again.groups[0];
    expect(settings).toEqual({ lr: 0.1 + 0.2, betas: [0.5, 0.75], eps: 1e-8, weightDecay: 0 });
  });

  test("gives plain data back as it is", async () => {
    const data = {
      step: 12,
      losses: [0.1, 1e-300, 2 ** 53],
      deep: { list: [[], {}, null, "ü\u0000", true] },
      none: null,
    };
    expect(decodeCheckpoint(await encodeCheckpoint(data), {})).toEqual(data);
  });

  test("is a safetensors file whose names say what is in it", async () => {
    const training = adamW();
    training.step(0);
    training.step(1);
    const { tensors } = decodeSafetensors(await encodeCheckpoint(training.parts));
    const { model } = training.parts as { model: Linear };
    for (const [name, x] of Object.entries(model.stateDict())) {
      expect(tensors[`model.${name}`].toArray()).toEqual(x.toArray());
    }
    expect(Object.keys(tensors)).toEqual(expect.arrayContaining(["optimizer.1.m", "optimizer.1.v", "data.words"]));
    expect(tensors["model.moe.rng.words"].shape).toEqual([4]);
  });
});

describe("a checkpoint is refused, and nothing changes,", () => {
  const training = adamW();
  training.step(0);
  const { parts } = training;
  const groups = (parts.optimizer as Optimizer<{ lr: number }>).groups;
  const write = (): Promise<Uint8Array> => encodeCheckpoint({ ...parts, step: 1 });

  type File = () => Promise<Uint8Array>;
  type Records = Record<string, Record<string, unknown>>;
  interface Contents {
    readonly tensors: Record<string, Tensor>;
    readonly record: { version: number; parts: Records };
  }
  /** The checkpoint with a change in its tensors or its record. */
  const changed =
    (change: (contents: Contents) => unknown): File =>
    async () => {
      const { tensors, metadata } = decodeSafetensors(await write());
      const record = JSON.parse(metadata.moegrad);
      change({ tensors, record });
      return encodeSafetensors(tensors, { moegrad: JSON.stringify(record) });
    };
  const putting = (name: string, x: Tensor): File => changed(({ tensors }) => Object.assign(tensors, { [name]: x }));
  const dropping = (name: string): File => changed(({ tensors }) => Reflect.deleteProperty(tensors, name));
  const withParts = (change: (parts: Records) => unknown): File => changed(({ record }) => change(record.parts));
  const withOptimizer = (change: (record: { groups: { numParams: number }[]; states: unknown[] }) => unknown): File =>
    withParts(({ optimizer }) => change(optimizer as never));
  const only =
    (moegrad: string): File =>
    async () =>
      encodeSafetensors({}, { moegrad });
  const { scheduler: _, ...withoutScheduler } = parts;
  const sgd = new SGD(groups.map(({ params }) => ({ params })));

  const bad: [what: string, file: File, message: string, of?: typeof parts][] = [
    ["when it is cut off", async () => (await write()).slice(0, -1), "bytes has"],
    ["when it holds tensors alone", async () => encodeSafetensors({}), "bytes has no metadata of moegrad"],
    ["when its record does not parse", only("{"), "text that does not parse"],
    ["when its record is no object", only("3"), "has version undefined"],
    ["when it is of a later version", changed(({ record }) => ++record.version), "has version 2, expected 1"],
    ["when it has no parts", changed(({ record }) => Object.assign(record, { parts: [] })), "expected parts by name"],
    ["when a part is missing", withParts((p) => Reflect.deleteProperty(p, "data")), 'has no part "data"'],
    ["when a part has another name", write, 'bytes has no part "other"', { ...parts, other: parts.data }],
    ["when a part was left out", write, 'has a part "scheduler"', withoutScheduler],
    [
      "when a part is of another kind",
      write,
      'model has "module", expected "generator"',
      { ...parts, model: parts.data },
    ],
    ["when a part has no kind", withParts((p) => Object.assign(p, { data: null })), "data has undefined, expected"],
    ["when a tensor is missing", dropping("model.first.bias"), 'model has no tensor "first.bias"'],
    ["when a tensor is unknown", putting("model.more", tensor([1])), 'has a tensor "more"'],
    ["when a tensor belongs to no part", putting("stray", tensor([1])), 'has a tensor "stray"'],
    ["when a shape differs", putting("model.first.bias", tensor([1])), "model.first.bias has shape [1], expected [4]"],
    ["when a dtype differs", putting("model.first.bias", tensor(new Int32Array(4))), "dtype int32, expected float32"],
    ["when moments have another shape", putting("optimizer.1.m", tensor([1])), "optimizer.1.m has shape [1]"],
    ["when moments are missing", dropping("optimizer.1.m"), 'optimizer.1 has no tensor "m"'],
    ["when moments belong to nobody", putting("optimizer.99.m", tensor([1])), 'has a tensor "99.m"'],
    ["when moments belong to one without state", putting("optimizer.0.m", tensor([1])), 'optimizer.0 has a tensor "m"'],
    [
      "when a state is no numbers",
      withOptimizer((o) => o.states.splice(1, 1, { t: "1" })),
      'optimizer.1.t has "1", expected a number',
    ],
    ["when a state is a list", withOptimizer((o) => o.states.splice(1, 1, [])), "optimizer.1 has [], expected numbers"],
    ["when there are other groups", withOptimizer((o) => o.groups.pop()), "optimizer has other groups, expected 2"],
    [
      "when groups have other parameters",
      withOptimizer((o) => ++o.groups[1].numParams),
      "groups[1] has 6 parameters, expected 5",
    ],
    ["when settings are another optimiser's", write, "optimizer.groups[0] has {", { ...parts, optimizer: sgd }],
    ["when states are of other parameters", withOptimizer((o) => o.states.pop()), "states of other parameters"],
    [
      "when the schedule is before its start",
      withParts(({ scheduler }) => Object.assign(scheduler, { numSteps: -1 })),
      "scheduler.numSteps has -1",
    ],
    ["when a generator stands nowhere", putting("data.words", tensor(new Int32Array(4))), "data.words has zeros"],
    ["when a generator has no place", dropping("data.words"), 'data has no tensor "words"'],
    ["when a module's generator has none", dropping("model.moe.rng.spare"), 'has no tensor "moe.rng.spare"'],
    [
      "when two normal numbers are left over",
      putting("data.spare", tensor(new Float64Array(2))),
      "data.spare has shape [2], expected [1]",
    ],
  ];

  test.each(bad)("%s", async (_, file, message, of = parts) => {
    const bytes = await file();
    const before = await write();
    expect(() => decodeCheckpoint(bytes, of)).toThrow(message);
    expect(() => decodeCheckpoint(bytes, of)).toThrow(/^decodeCheckpoint: bytes/);
    expect(await write()).toEqual(before);
  });
});

describe("a part is refused", () => {
  test.each<[string, unknown, string]>([
    ["without a name", { "": 1 }, 'a part has the name "", expected one without dots'],
    ["with a dot in its name", { "a.b": 1 }, 'a part has the name "a.b"'],
    ["with the name of manualSeed's generator", { defaultGenerator: 1 }, "expected another one"],
    [
      "that is NaN",
      { loss: Number.NaN },
      "loss has NaN, expected a module, optimiser, scheduler or generator, or what JSON",
    ],
    ["that has undefined inside", { a: { b: [undefined] } }, "a.b[0] has undefined"],
    ["that is a tensor", { x: tensor([1]) }, "x has a Tensor"],
    ["that is a Map", { x: new Map() }, "x has a Map"],
    ["that is a function", { f: () => 1 }, "f has function f"],
  ])("%s", async (_, parts, message) => {
    await expect(encodeCheckpoint(parts as Record<string, PlainData>)).rejects.toThrow(message);
  });

  test("when there are none", async () => {
    await expect(encodeCheckpoint(null as never)).rejects.toThrow("encodeCheckpoint: parts has null");
    expect(() => decodeCheckpoint(new Uint8Array(0), [] as never)).toThrow("parts has [], expected parts by name");
    expect(() => decodeCheckpoint(new Uint8Array(0), { step: 3 } as never)).toThrow("step has 3, expected a module");
  });
});

describe("a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "moegrad-io-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("is written and read, and no other is left", async () => {
    const path = join(folder, "run.safetensors");
    const rng = new Generator(1);
    for (const step of [1, 2, 3]) {
      rng.normal();
      await saveCheckpoint(path, { rng, step });
      expect(readdirSync(folder)).toEqual(["run.safetensors"]);
    }
    const next = rng.normal();
    const again = new Generator(2);
    expect(await loadCheckpoint(path, { rng: again })).toEqual({ step: 3 });
    expect(again.normal()).toBe(next);
    await saveSafetensors(path, { x: tensor([1]) }, { a: "b" });
    const { tensors, metadata } = await loadSafetensors(path);
    expect([tensors.x.toArray(), metadata]).toEqual([[1], { a: "b" }]);
  });

  test("that cannot be written stays what it was", async () => {
    const path = join(folder, "run.safetensors");
    await saveCheckpoint(path, { step: 1 });
    const before = readFileSync(path);
    await expect(saveCheckpoint(path, { step: Number.NaN })).rejects.toThrow("saveCheckpoint: step has NaN");
    await expect(saveCheckpoint(join(folder, "none", "run"), { step: 1 })).rejects.toThrow("ENOENT");
    // A folder stands where the file should go: the rename fails, and the temporary file goes.
    await expect(saveCheckpoint(folder, { step: 1 })).rejects.toThrow();
    expect(readdirSync(folder)).toEqual(["run.safetensors"]);
    expect(readFileSync(path)).toEqual(before);
  });

  test("is not there in a page: bytes are", async () => {
    vi.stubGlobal("process", undefined);
    const load = loadSafetensors("run.safetensors");
    const { x } = decodeSafetensors(encodeSafetensors({ x: tensor([1]) })).tensors;
    vi.unstubAllGlobals();
    expect(x.toArray()).toEqual([1]);
    await expect(load).rejects.toThrow("loadSafetensors: the platform has no files, expected Node 20.16 or later");
  });

  test("is named by what is wrong with it", async () => {
    const path = join(folder, "bad.safetensors");
    writeFileSync(path, "nothing");
    await expect(loadCheckpoint(path, {})).rejects.toThrow(`loadCheckpoint: ${JSON.stringify(path)} has 7 bytes`);
    await expect(loadSafetensors(path)).rejects.toThrow(`loadSafetensors: ${JSON.stringify(path)} has 7 bytes`);
    await expect(loadCheckpoint(join(folder, "none"), {})).rejects.toThrow("ENOENT");
    await expect(loadCheckpoint(3 as never, {})).rejects.toThrow("path has 3, expected the path of a file");
    await expect(saveCheckpoint("", {})).rejects.toThrow('path has "", expected the path of a file');
  });
});

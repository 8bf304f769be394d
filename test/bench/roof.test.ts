import { describe, expect, test } from "vitest";
import { CHAINS, roofKernels } from "../../bench/roof.ts";

describe("the kernels of the roof", () => {
  const kernels = roofKernels(3 * 65536);

  test.each(CHAINS)("%i chains do what they are counted for: x · ½ + 1, each as often as it is told", (count) => {
    let x = 0;
    for (let n = 1; n <= 5; n++) {
      x = x / 2 + 1;
      expect(kernels.chains(count, n)).toBe(count * x);
    }
  });

  test("copying moves every byte, and no other", () => {
    const bytes = new Uint8Array(kernels.memory.buffer);
    for (let i = 0; i < 1000; i++) bytes[65536 + i] = i % 251;
    bytes.fill(7, 131072, 131072 + 1002);
    kernels.copy(131073, 65536, 1000);
    expect(bytes.slice(131073, 132073)).toEqual(bytes.slice(65536, 66536));
    expect([bytes[131072], bytes[132073]]).toEqual([7, 7]);
  });
});

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import * as esm from "moegrad";
import * as esmReport from "moegrad/report";

const require = createRequire(import.meta.url);
const cjs = require("moegrad");
const cjsReport = require("moegrad/report");

assert.notEqual(cjs.Tensor, esm.Tensor, "one copy was loaded, so this file would test nothing");
assert.notEqual(cjsReport, esmReport);

const x = esm.tensor([1, 2, 3], { requiresGrad: true });
const w = cjs.tensor([4, 5, 6], { requiresGrad: true });
assert.ok(w instanceof esm.Tensor, "a CommonJS tensor is a Tensor to the ESM copy");
assert.ok(x instanceof cjs.Tensor, "an ESM tensor is a Tensor to the CommonJS copy");
assert.ok(!({} instanceof esm.Tensor) && !(null instanceof esm.Tensor), "and other values are not");

// y = Σ x·w², with records from both copies: dx = w², dw = 2·x·w.
w.mul(x.mul(w)).sum().backward();
assert.deepEqual(x.grad.toArray(), [16, 25, 36]);
assert.deepEqual(w.grad.toArray(), [8, 20, 36]);

assert.equal(esm.noGrad(() => w.mul(w)).requiresGrad, false, "noGrad of the ESM copy stops the CommonJS one");
assert.equal(cjs.noGrad(() => x.mul(x)).requiresGrad, false, "noGrad of the CommonJS copy stops the ESM one");

import moegrad = require("moegrad");
import report = require("moegrad/report");

const x: moegrad.Tensor = moegrad.tensor([1, 2, 3], { requiresGrad: true });
const y: moegrad.Tensor = moegrad.noGrad(() => x.mul(x).sum());
// @ts-expect-error: a method that does not exist; were everything `any`, this line would not be an error.
y.noSuchMethod();
// @ts-expect-error: the same for the other entry points.
report.noSuchName;

import { noGrad, type Tensor, tensor } from "moegrad";
import * as report from "moegrad/report";

const x: Tensor = tensor([1, 2, 3], { requiresGrad: true });
const y: Tensor = noGrad(() => x.mul(x).sum());
// @ts-expect-error: a method that does not exist; were everything `any`, this line would not be an error.
y.noSuchMethod();
// @ts-expect-error: the same for the other entry points.
report.noSuchName;

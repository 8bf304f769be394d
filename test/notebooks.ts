/** Tables of the authors' notebooks for "Towards Understanding Mixture of Experts": samples of each cluster that each expert took. */

/** Dispatch entropy 0.377557. */
export const SETTING_2_CUBIC: readonly (readonly number[])[] = [
  [6, 1, 2074, 0, 78, 1983, 0, 1],
  [7, 1, 0, 0, 2328, 1561, 0, 0],
  [3558, 2, 6, 0, 44, 452, 0, 0],
  [7, 3539, 13, 0, 84, 255, 0, 0],
];

/** Dispatch entropy 1.313949. */
export const SETTING_1_LINEAR: readonly (readonly number[])[] = [
  [1, 0, 1968, 0, 516, 0, 3, 1547],
  [0, 0, 1051, 0, 1092, 0, 0, 1856],
  [10, 0, 1292, 0, 1234, 0, 404, 1066],
  [137, 0, 1278, 0, 1116, 0, 338, 1091],
];

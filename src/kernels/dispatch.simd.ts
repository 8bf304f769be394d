/** The simd forms of dispatch and combine, by the functions of rows.simd.ts. Work follows the granted slots. */

import type { Flat } from "../device/kernel.ts";
import type { SimdForm } from "../device/simd.ts";
import type { Width } from "./dispatch.ts";
import { rowCalls, rowsModule } from "./rows.simd.ts";

/** How many slots are granted: where the last expert's end. */
export const granted = (offsets: Flat): number => offsets[offsets.length - 1];

export const gatherSlotsForm: SimdForm<Width> = {
  module: rowsModule,
  cost: (_, length) => 0.2 * length,
  run(call, out, [x, tokenOfSlot, , , { data: offsets }], { D }, length) {
    const end = granted(offsets);
    rowCalls(end, D, (from, to) => call("gatherRows", x.at, tokenOfSlot.at, out, from, to, 4 * D));
    call("zero", out + 4 * end * D, 4 * (length - end * D));
  },
};

export const sumSlotsForm: SimdForm<Width> = {
  module: rowsModule,
  cost: (_, length, [h]) => 0.2 * length + 0.5 * h.length,
  run(call, out, [h, , slotsOfToken, tokenOffsets, { data: offsets }], { D }) {
    const maps = [slotsOfToken.at, tokenOffsets.at];
    const end = granted(offsets);
    rowCalls(tokenOffsets.data.length - 1, D, (from, to) =>
      call("sumRows", h.at, 0, ...maps, out, from, to, 4 * D, end),
    );
  },
};

export const combineSlotsForm: SimdForm<Width> = {
  module: rowsModule,
  cost: (_, length, [h]) => 0.2 * length + 0.6 * h.length,
  run(call, out, [h, a, , slotsOfToken, tokenOffsets, { data: offsets }], { D }) {
    const maps = [slotsOfToken.at, tokenOffsets.at];
    const end = granted(offsets);
    rowCalls(tokenOffsets.data.length - 1, D, (from, to) =>
      call("weightedSumRows", h.at, a.at, ...maps, out, from, to, 4 * D, end),
    );
  },
};

export const spreadSlotsForm: SimdForm<Width> = {
  module: rowsModule,
  cost: (_, length) => 0.25 * length,
  run(call, out, [x, a, tokenOfSlot, , , { data: offsets }], { D }, length) {
    const end = granted(offsets);
    rowCalls(end, D, (from, to) => call("spreadRows", x.at, a.at, tokenOfSlot.at, out, from, to, 4 * D));
    call("zero", out + 4 * end * D, 4 * (length - end * D));
  },
};

export const slotDotForm: SimdForm<Width> = {
  module: rowsModule,
  cost: (_, __, [, h]) => 0.4 * h.length,
  run(call, out, [x, h, tokenOfSlot, , , { data: offsets }], { D }, length) {
    const end = granted(offsets);
    rowCalls(end, D, (from, to) => call("dotRows", x.at, h.at, tokenOfSlot.at, out, from, to, 4 * D));
    call("zero", out + 4 * end, 4 * (length - end));
  },
};

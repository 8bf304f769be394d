/**
 * Where tokens go, decided on the host: what every peer needs whose shapes cannot depend on values.
 *
 *   tokensOf       expert → its tokens, lowest first
 *   tokenOfSlot    the same in one list: slots sorted by expert
 *   expertOfSlot   slot → expert
 *   gateOfSlot     slot → where its gate stands in [T, E]
 *   slotsOfToken   slots sorted by token; with top-2, two for each
 */
export function top2Slots(indices, T, E) {
  const tokensOf = Array.from({ length: E }, () => []);
  for (let i = 0; i < 2 * T; i++) tokensOf[indices[i]].push(i >> 1);
  return slots(tokensOf, T);
}

/** `tokens` [E, C]: what each expert chose. */
export function choiceSlots(tokens, T, E) {
  const C = tokens.length / E;
  const tokensOf = Array.from({ length: E }, (_, e) => Array.from(tokens.subarray(e * C, (e + 1) * C)));
  return slots(tokensOf, T);
}

function slots(tokensOf, T) {
  const E = tokensOf.length;
  const tokenOfSlot = Int32Array.from(tokensOf.flat());
  const expertOfSlot = Int32Array.from(tokensOf.flatMap((tokens, e) => tokens.map(() => e)));
  const slotsByToken = Array.from({ length: T }, () => []);
  tokenOfSlot.forEach((t, s) => {
    slotsByToken[t].push(s);
  });
  return {
    ...{ tokensOf, tokenOfSlot, expertOfSlot },
    gateOfSlot: tokenOfSlot.map((t, s) => t * E + expertOfSlot[s]),
    slotsOfToken: Int32Array.from(slotsByToken.flat()),
  };
}

/** The E matrices of a [E, M, N] array, as arrays of their own. */
export function matricesOf({ data, shape: [E, M, N] }) {
  return Array.from({ length: E }, (_, e) => ({ shape: [M, N], data: data.slice(e * M * N, (e + 1) * M * N) }));
}

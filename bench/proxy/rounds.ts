/** Alternating rounds over all contenders. */
import type { Row, Sample } from '../report/table.ts'

/**
 * Every other round goes backwards, so that whatever drifts does not always meet the same one. A contender that fails in
 * the middle becomes a row that says why.
 */
export async function alternate<Contender extends { readonly name: string }>(
  contenders: readonly (Contender | Row)[],
  rounds: number,
  probe: (contender: Contender) => Promise<Sample>,
): Promise<Row[]> {
  const rows = new Map<string, { name: string; samples: Sample[]; note?: string }>(
    contenders.map(each => [
      each.name,
      'samples' in each ? { ...each, samples: [] } : { name: each.name, samples: [] },
    ]),
  )
  const running = contenders.filter(each => !('samples' in each))
  for (let round = 0; round < rounds; round++) {
    for (const contender of round % 2 ? running.toReversed() : running) {
      const row = rows.get(contender.name)
      if (!row || row.note !== undefined) continue
      try {
        row.samples.push(await probe(contender as Contender))
      } catch (error) {
        row.note = error instanceof Error ? error.message : String(error)
      }
    }
  }
  return [...rows.values()]
}

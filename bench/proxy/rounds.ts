/** Measures all contenders in alternating rounds. */
import type { Row, Sample } from '../report/table.ts'

/** One round that is not counted: JavaScript is compiled by then, and each contender has the memory it needs. An error comes again in a round. */
export async function warmUp<Contender extends { readonly name: string }>(
  contenders: readonly (Contender | Row)[],
  probe: (contender: Contender) => Promise<unknown>,
): Promise<void> {
  for (const contender of running(contenders)) await probe(contender).catch(() => {})
}

/**
 * Every other round runs in reverse order, so that drift of the machine does not always fall on the same contender. One that
 * fails gets a note with the error, is left out of later rounds, and keeps the samples it has.
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
  const asked = running(contenders)
  for (let round = 0; round < rounds; round++) {
    for (const contender of round % 2 ? asked.toReversed() : asked) {
      const row = rows.get(contender.name)
      if (!row || row.note !== undefined) continue
      try {
        row.samples.push(await probe(contender))
      } catch (error) {
        row.note = error instanceof Error ? error.message : String(error)
      }
    }
  }
  return [...rows.values()]
}

/** Without those that did not start. */
function running<Contender extends object>(contenders: readonly (Contender | Row)[]): Contender[] {
  return contenders.filter((each): each is Contender => !('samples' in each))
}

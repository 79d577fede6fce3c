/**
 * Feeds mutated inputs to everything that reads what clusters and operators write: etcd values, manifests, watches and lists of
 * the Kubernetes API, the configuration.
 *
 *   npm run fuzz [-- --seconds 60 --seed 1 --only manifests,watches --keep]
 *
 * Starts from test/fuzz/corpus, and takes turns among the targets of scripts/fuzz/targets.ts. Runs for the given time and exits
 * with 0 when every input was handled within the rules (a documented error or objects that pass the address checks, in bounded
 * time and memory), else with 1 and the input as a line of the corpus. `--keep` adds small inputs to the corpus that were
 * handled in a way not seen before; add an input that caused a failure as well, so that it is tested from then on.
 */
import { commandLine } from './command-line.ts'
import { attempt } from './fuzz/attempt.ts'
import { keep, lineOf, readCorpus } from './fuzz/corpus.ts'
import { mutateBytes, mutateJson } from './fuzz/mutate.ts'
import { dice as diceOf } from './fuzz/random.ts'
import { type Target, targets } from './fuzz/targets.ts'

const { values } = commandLine(import.meta.url, {
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
})

/** Mutations that double a piece would grow without end. */
const mostBytes = 64 << 10
const mostKept = 1000
const mostPool = 2000

const dice = diceOf(Number(values.seed))
const chosen = targets.filter(({ name }) => values.only === '' || values.only.split(',').includes(name))
if (chosen.length === 0) throw new Error(`no such target; there are ${targets.map(({ name }) => name).join(', ')}`)
const runs = chosen.map(target => ({ target, pool: readCorpus(target.name), seen: new Set<string>(), inputs: 0 }))
const until = performance.now() + Number(values.seconds) * 1000

for (const { target, pool, seen } of runs) for (const input of pool) seen.add(tried(target, input))
while (performance.now() < until) {
  for (const run of runs) {
    const { target, pool, seen } = run
    const input = mutated(target, pool)
    run.inputs++
    const way = tried(target, input)
    if (seen.has(way)) continue
    seen.add(way)
    if (pool.length < mostPool) pool.push(input)
    if (values.keep && input.length < mostKept) keep(target.name, input)
  }
}
for (const { target, inputs, seen } of runs) console.log(`${target.name}: ${inputs} inputs, ${seen.size} ways`)
console.log(`nothing found with seed ${values.seed}`)

function mutated({ words }: Target, pool: readonly Buffer[]): Buffer {
  const input = dice.any(pool)
  const json = dice.below(2) === 0 ? mutateJson(input, pool, dice) : undefined
  return (json ?? mutateBytes(input, pool, words, dice)).subarray(0, mostBytes)
}

function tried(target: Target, input: Buffer): string {
  try {
    return attempt(target, input)
  } catch (error) {
    console.log(`${target.name}: ${(error as Error).stack}\nseed ${values.seed}, input ${lineOf(input)}`)
    process.exit(1)
  }
}

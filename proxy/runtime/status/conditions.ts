/** Whether clients can reach a service: what its backends' states and verdicts come to. */
import { type Backend, isBad, isCandidate, isHealthy } from '../../model/backend.ts'
import type { Directory } from '../../model/directory.ts'
import type { Problem } from '../../model/error.ts'
import type { Frontend, GlobalService } from '../../model/service.ts'
import { inTurns } from '../../model/time/turn.ts'
import type { ServiceCondition, Status } from '../../model/views.ts'

/** A service is replaced when anything of it changes, so what was found for it stays true. */
const known = new WeakMap<GlobalService, ServiceCondition>()

export function conditionOf(service: GlobalService): ServiceCondition {
  const found = known.get(service) ?? examine(service)
  known.set(service, found)
  return found
}

/** Leaves little to do for {@link serviceConditions}. */
export async function examineInTurns(directory: Directory): Promise<void> {
  for await (const service of inTurns([...directory.services()])) conditionOf(service)
}

function examine(service: GlobalService): ServiceCondition {
  const { frontends, backends, parked } = service
  if (frontends.length === 0) return { state: 'none' }
  if (backends.length === 0) {
    const where = parked.length > 0 ? 'in this cluster, and it is not global' : 'in any cluster'
    return { state: 'empty', why: `it has no backends ${where}` }
  }
  const closed = frontends.filter(
    ({ backends }) => !backends.some(backend => isCandidate(backend) && isHealthy(backend)),
  )
  const [first] = closed
  if (first) {
    const which = closed.length < frontends.length ? ` of ${first.key}` : ''
    return { state: 'unreachable', why: `${whyClosed(first, backends)}${which}` }
  }
  const bad = backends.filter(backend => isCandidate(backend) && isBad(backend))
  if (bad.length > 0) return { state: 'reduced', why: `${bad.length} of ${backends.length} backends: ${verdicts(bad)}` }
  return { state: 'ok' }
}

function whyClosed(frontend: Frontend, all: readonly Backend[]): string {
  const candidates = frontend.backends.filter(isCandidate)
  if (candidates.length > 0) return `every backend (${verdicts(candidates)})`
  return all.length > 0 ? `no backend is ready (${all.length} are not)` : 'there is no backend'
}

/** `3 down, 1 ejected` */
function verdicts(backends: readonly Backend[]): string {
  const counts = new Map<string, number>()
  for (const { health } of backends) counts.set(health, (counts.get(health) ?? 0) + 1)
  return [...counts].map(([health, count]) => `${count} ${health}`).join(', ')
}

/** Services that are named one by one; the others are a number. */
const maxNamed = 20

/** How many services are in which condition, and the problems that this makes. */
export function serviceConditions(directory: Directory): { counts: Status['services']; problems: Problem[] } {
  const counts = { total: 0, unreachable: 0, reduced: 0, empty: 0 }
  const found: { unreachable: Problem[]; reduced: Problem[] } = { unreachable: [], reduced: [] }
  const empty: string[] = []
  for (const service of directory.services()) {
    counts.total++
    const { state, why } = conditionOf(service)
    if (state === 'ok' || state === 'none') continue
    counts[state]++
    if (state === 'empty') {
      if (empty.length < maxNamed) empty.push(service.key)
    } else if (found[state].length < maxNamed) found[state].push(problemOf(service.key, state, why ?? ''))
  }
  const { unreachable, reduced } = found
  const more = (kind: 'unreachable' | 'reduced') =>
    counts[kind] > maxNamed
      ? [
          {
            code: codes[kind],
            where: 'services',
            message: `${counts[kind] - maxNamed} more services are ${kind}; "starlane services --unhealthy" lists all`,
          },
        ]
      : []
  const others = counts.empty - empty.length
  const names = `${empty.join(', ')}${others > 0 ? ` and ${others} more` : ''}`
  const nothing = counts.empty === 0 ? [] : [emptyProblem(names, counts.empty)]
  return { counts, problems: [...unreachable, ...more('unreachable'), ...reduced, ...more('reduced'), ...nothing] }
}

const codes = { unreachable: 'SERVICE_UNREACHABLE', reduced: 'SERVICE_REDUCED' } as const

function problemOf(where: string, state: 'unreachable' | 'reduced', why: string): Problem {
  const message =
    state === 'unreachable'
      ? `no client can reach it: ${why}; "starlane explain ${where}" shows what clients get`
      : `${why}; the others serve`
  return { code: codes[state], where, message }
}

function emptyProblem(names: string, count: number): Problem {
  const message = `${count === 1 ? 'it has' : 'they have'} no backends in any cluster, so connections are refused`
  return { code: 'SERVICE_REDUCED', where: names, message }
}

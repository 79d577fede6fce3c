/**
 * Explains a decision: runs the steps of `choose` again and records each one. Done only on request, so that decisions pay
 * nothing for it.
 */
import { type Backend, type Backends, isBad, select } from '../model/backend.ts'
import type { Client, Flow, Refusal } from '../model/flow.ts'
import { type GlobalService, proxyNameOf } from '../model/service.ts'
import type { Explanation, Removal } from '../model/views.ts'
import type { ServiceChain } from './compile.ts'
import { fresh } from './fresh.ts'
import { neutralFlow } from './neutral.ts'
import { noBackend } from './no-backend.ts'
import { spread } from './spread.ts'

/** One frontend's part of an explanation. */
export type Trace = Omit<Explanation['frontends'][number], 'retries'>
type Retry = Explanation['frontends'][number]['retries'][number]

/** `attempts` is the number of attempts that a flow may make. */
export function explainService(
  client: Client,
  service: GlobalService,
  chain: ServiceChain,
  attempts: number,
): Explanation {
  return {
    namespace: service.namespace,
    name: service.name,
    client: client.address,
    before: leftOut(service),
    frontends: service.frontends.map(frontend => {
      const flow = neutralFlow(service, frontend, client)
      const trace = explain(flow, chain, attempts)
      return { ...trace, retries: retries(flow, trace, chain, attempts) }
    }),
  }
}

/** The further attempts of a flow whose attempts fail one after the other, each at the first candidate. */
function retries(flow: Flow, first: Trace, chain: ServiceChain, attempts: number): Retry[] {
  const found: Retry[] = []
  let { candidates } = first
  let tried: readonly string[] = []
  for (let attempt = 2; attempt <= attempts; attempt++) {
    const [failed] = candidates
    if (failed === undefined) break
    tried = [...tried, failed]
    const next = explain({ ...flow, tried }, chain, attempts)
    candidates = next.candidates
    const moved = next.steps.some(({ step, removed }) => step === 'spread' && removed.length > 0)
    found.push({ attempt, failed, candidates, moved, ...(next.refusal && { refusal: next.refusal }) })
  }
  return found
}

/** Explains one decision. */
export function explain(flow: Flow, chain: ServiceChain, attempts: number): Trace {
  const { client, service, frontend } = flow
  const steps: Trace['steps'][number][] = []
  let left = frontend.backends
  const note = (step: string, next: Backends, why: (backend: Backend) => string): void => {
    const kept = new Set(next)
    const removed = left
      .filter(backend => !kept.has(backend))
      .map(backend => ({ backend: backend.key, why: why(backend) }))
    steps.push({ step, left: next.length, removed })
    left = next
  }
  const end = (decidedBy: string): Trace => ({
    frontend: frontend.key,
    steps,
    candidates: left.map(({ key }) => key),
    ...doubtsOf(left),
    decidedBy,
  })
  const refuse = (refusal: Refusal): Trace => {
    const { doubts, ...ended } = end(refusal.code)
    return { ...ended, candidates: [], refusal }
  }

  for (const gate of chain.gates) {
    const refusal = gate.admit(client, service, 'flow')
    if (!refusal) continue
    note(gate.name, [], backend => gate.why(flow, backend) ?? refusal.why)
    return refuse(refusal)
  }
  if (flow.tried.length > 0) {
    note(
      'tried',
      left.filter(({ key }) => !flow.tried.includes(key)),
      () => 'this flow has already tried it',
    )
  }
  if (left.length === 0) return refuse(noBackend(flow, left))
  if (flow.tried.length > 0) {
    const next = spread(chain, flow, left, attempts)
    if (next !== left)
      note('spread', next, ({ cluster }) => `attempts in ${cluster} or its zone failed, others are ready`)
  }
  if (frontend.fresh !== undefined) {
    const next = fresh(chain, flow, left)
    if (next !== left)
      note('stale', next, ({ cluster }) => `${cluster} has been lost for too long, and others are ready`)
  }

  for (const step of chain.narrowing) {
    const next = step.narrow(flow, left)
    note(step.name, next, backend => step.why(flow, backend))
    if (next.length === 0) return refuse(step.refusal(next))
  }
  const narrowed = left
  note('usable', select(left), unusable)
  if (left.length === 0) return refuse(noBackend(flow, narrowed))

  for (const step of chain.choosing) {
    const choice = step.choose(flow, left)
    if (!choice) continue
    if (choice.refusal) return refuse(choice.refusal)
    note(step.name, [choice.backend], () => `this flow goes to ${choice.backend.key}`)
    return end(step.name)
  }
  return end('balancer')
}

/** Backends that the chain never sees, and why. */
function leftOut({ backends, frontends, parked, local }: GlobalService): Removal[] {
  const offered = new Set(frontends.flatMap(frontend => frontend.backends.map(({ key }) => key)))
  const otherProxy = frontends.length === 0 && local ? proxyNameOf(local) : undefined
  const absent = local ? 'the service is not global in this cluster' : 'this cluster has no such service'
  return [
    ...parked.map(({ key }) => ({ backend: key, why: absent })),
    ...backends
      .filter(backend => !offered.has(backend.key))
      .map(backend => ({
        backend: backend.key,
        why: otherProxy === undefined ? whyNotOffered(backend) : `the Service is left to the proxy "${otherProxy}"`,
      })),
  ]
}

function whyNotOffered({ state, port, protocol, ports, weight }: Backend): string {
  if (weight === 0) return 'its weight is 0'
  if (state === 'maintenance') return 'it is not ready'
  return `no frontend matches its port ${ports.join(' ') || port}/${protocol}`
}

/** Why candidates are used although {@link select} would rather have others. */
function doubtsOf(candidates: Backends): Pick<Trace, 'doubts'> {
  const doubts = candidates.flatMap(backend => {
    const doubt = doubtOf(backend)
    return doubt === undefined ? [] : [[backend.key, doubt] as const]
  })
  return doubts.length > 0 ? { doubts: Object.fromEntries(doubts) } : {}
}

function doubtOf(backend: Backend): string | undefined {
  if (isBad(backend)) return `${backend.health}, used only because all are`
  if (backend.state === 'terminating') return 'terminating, used only because no other is left'
  return backend.weight === 0 ? 'of weight 0, used only because no other is left' : undefined
}

/** Why {@link select} left a backend out: others are in a better state. */
function unusable(backend: Backend): string {
  if (!backend.serving) return 'it is terminating and not serving'
  if (isBad(backend)) return `it is ${backend.health}`
  if (backend.state === 'terminating') return 'it is terminating'
  return backend.weight === 0 ? 'its weight is 0' : 'checks have not found it up yet'
}

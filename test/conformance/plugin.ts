/**
 * Conformance suite of plugins: checks the laws of plugins/README.md with services of all kinds. It needs no test framework,
 * so that the tests of a user's plugin can call it. It passes if it returns no breach.
 */
import { isDeepStrictEqual } from 'node:util'
import { faultOf } from '../../proxy/chain/loading/open.ts'
import type { Cluster } from '../../proxy/model/cluster.ts'
import type { Flow } from '../../proxy/model/flow.ts'
import type { GlobalService } from '../../proxy/model/service.ts'
import type { PluginModule } from '../../proxy/plugin.ts'
import { settled } from '../support/clock.ts'
import { flow } from '../support/model.ts'
import { type Breach, Breaches, Candidate } from './candidate.ts'
import { clients, clusters, endings, flowsOf, offered, results, services, stranger } from './situations.ts'

export type { Breach, Law } from './candidate.ts'
export { laws } from './candidate.ts'

export interface Exam {
  /** As a user would write them; by default the defaults. */
  readonly options?: unknown
  /** Additional services that matter to the plugin. */
  readonly services?: readonly GlobalService[]
  readonly clusters?: readonly Cluster[]
}

export async function examinePlugin(module: PluginModule, exam: Exam = {}): Promise<readonly Breach[]> {
  const breaches = new Breaches()
  const fault = faultOf(module)
  if (fault !== undefined) breaches.note('module', fault)
  else await sit(module, exam, breaches)
  return breaches.list
}

async function sit(module: PluginModule, exam: Exam, breaches: Breaches): Promise<void> {
  const enter = () => Candidate.enter(module, exam.options, exam.clusters ?? clusters, breaches)
  const [first, second, third] = [enter(), enter(), enter()]
  if (!first || !second || !third) return
  const concerned = [...services, ...(exam.services ?? [])].filter(service => first.appliesTo(service))

  const fresh = askAll(second, concerned)
  repeatQuestions(first, concerned, breaches)
  if (module.decides === 'change') await varyMoment(third, concerned, breaches)
  await liveThrough(first, concerned)
  askAll(first, concerned)
  if (!isDeepStrictEqual(askAll(second, concerned), fresh)) {
    breaches.note('own', 'an instance changes its answers after another has seen flows')
  }
  await crowd(first, concerned)
  for (const subject of [first, second, third]) await subject.leave()
}

/** The answers to every question about every service, and the state, as text. */
function askAll(subject: Candidate, concerned: readonly GlobalService[]): string[] {
  const answers = concerned.flatMap(service =>
    clients.flatMap(client => [
      subject.admit(client, service),
      ...flowsOf(service, client).flatMap(asked => askOne(subject, asked)),
    ]),
  )
  const notes = concerned.flatMap(service => service.backends.map(backend => subject.note(service, backend)))
  return [...answers, ...notes, subject.state()]
}

function askOne(subject: Candidate, asked: Flow): string[] {
  const list = offered(asked)
  if (list.length === 0) return []
  const left = subject.candidates(asked, list)
  return [left.map(({ key }) => key).join(), left.length > 0 ? (subject.pick(asked, left)?.key ?? 'nobody') : 'nothing']
}

function repeatQuestions(subject: Candidate, concerned: readonly GlobalService[], breaches: Breaches): void {
  const before = subject.state()
  const flows = concerned.flatMap(service => clients.flatMap(client => flowsOf(service, client)))
  const steady = flows.every(asked => isDeepStrictEqual(askOne(subject, asked), askOne(subject, asked)))
  const once = askAll(subject, concerned)
  if (!steady || !isDeepStrictEqual(askAll(subject, concerned), once)) {
    breaches.note('asking', 'the same question has another answer the second time')
  }
  if (subject.state() !== before) breaches.note('asking', 'state() changes when a deciding hook is called')
}

async function varyMoment(subject: Candidate, concerned: readonly GlobalService[], breaches: Breaches): Promise<void> {
  const answers = () =>
    clients.map(client =>
      concerned.flatMap(service => flowsOf(service, client).map(asked => askOne(subject, asked)[0])),
    )
  const [some, ...others] = answers()
  if (others.some(other => !isDeepStrictEqual(other, some))) breaches.note('change', 'clients get different lists')
  await subject.clock.advance(3_600_000)
  if (!isDeepStrictEqual(answers()[0], some)) breaches.note('change', 'the list changes after an hour')
  await liveThrough(subject, concerned)
  if (!isDeepStrictEqual(answers()[0], some)) breaches.note('change', 'the list changes after some flows')
}

/** Adds and removes services, and lets flows take every possible course. */
async function liveThrough(subject: Candidate, concerned: readonly GlobalService[]): Promise<void> {
  for (const service of concerned) {
    subject.tell('onService', service, [])
    for (const [i, asked] of clients.flatMap(client => flowsOf(service, client).slice(0, 3)).entries()) {
      for (const backend of [...asked.frontend.backends, stranger]) {
        for (const result of results) {
          subject.tell('onConnect', asked, backend)
          subject.tell('onResult', asked, backend, result)
          if (result.outcome === 'connected') subject.tell('onClose', asked, backend, endings[i % endings.length])
        }
        // After a reload an instance may be told the end of a flow whose start it was not told.
        subject.tell('onResult', flow(service, { frontend: asked.frontend }), backend, results[i % results.length])
        subject.tell('onClose', flow(service, { frontend: asked.frontend }), backend, endings[i % endings.length])
      }
    }
    await subject.clock.advance(10_000)
    subject.state()
    subject.tell(
      'onService',
      { ...service, local: undefined, members: [], frontends: [], backends: [] },
      service.backends,
    )
    subject.tell('onService', service, [])
  }
  await settled()
}

const crowdSize = 10_000

/** Enough clients to reveal state without a bound. */
async function crowd(subject: Candidate, concerned: readonly GlobalService[]): Promise<void> {
  const service = concerned.find(({ frontends }) => (frontends[0]?.backends.length ?? 0) > 1)
  const backend = service?.frontends[0]?.backends[0]
  if (!service || !backend) return
  for (let i = 0; i < crowdSize; i++) {
    const asked = flow(service, { client: { address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, port: 1 } })
    subject.candidates(asked, offered(asked))
    subject.tell('onConnect', asked, backend)
    subject.tell('onResult', asked, backend, results[0])
  }
  await settled()
  subject.checkSize()
}

/** A selection of `npm run test:applications`: some applications, each in one deployment, at the same time. */
import t from 'tap'
import { dns } from './dns.ts'
import { redis } from './redis.ts'
import type { Application } from './support/application.ts'
import { examine, whyNot } from './support/examine.ts'
import type { Deployment } from './support/mesh.ts'
import { tls } from './tls.ts'

const chosen: readonly (readonly [Application, Deployment, events: readonly string[]])[] = [
  [redis, 'sidecar', ['flap', 'kill', 'BLPOP']],
  [dns, 'node-agent', ['flap', 'empty']],
  [tls, 'exec', ['roll', 'reload']],
]
const engine = process.env.STARLANE_NATIVE === '0' ? 'streams' : 'auto'

t.jobs = chosen.length
for (const [application, deployment, events] of chosen) {
  const skip = whyNot(application) ?? false
  t.test(`${application.name}, ${deployment}`, { skip, buffered: true }, async t => {
    const findings = await examine({ application, deployment, engine, bulkBytes: 2 ** 20 }, events)
    for (const { event, problem } of findings) t.equal(problem, undefined, event)
    t.equal(findings.length, events.length + 1)
  })
}

/** What the log says of flows: refusals, and ends that are ours. */
import t from 'tap'
import type { CloseReason, Flow, Totals } from '../../../proxy/model/flow.ts'
import type { LogFields } from '../../../proxy/model/log.ts'
import { flowLog } from '../../../proxy/runtime/flows/flow-log.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, globalService } from '../../support/model.ts'

function logged(protocol: 'TCP' | 'UDP' = 'TCP') {
  const lines: { level: string; event: string; fields: LogFields | undefined }[] = []
  const at = (level: string) => (event: string, fields?: LogFields) => void lines.push({ level, event, fields })
  const clock = new FakeClock()
  const to = backend({ address: '10.0.0.1', port: 80, protocol })
  const service = globalService({
    local: clusterService({ clusterIPs: ['10.96.0.1'], ports: [{ name: '', protocol, port: 80 }] }),
    backends: [to],
  })
  const frontend = service.frontends[0] as Flow['frontend']
  const flow: Flow = { id: 1, client: { address: '10.1.1.1', port: 4000 }, service, frontend, tried: [] }
  const observer = flowLog({ debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }, clock)
  const close = (reason: CloseReason) =>
    observer.closed?.(flow, to, { reason, sent: 5, received: 7, ms: 100 } satisfies Totals)
  return { lines, clock, close, key: to.key }
}

t.test('an end that is ours is a line at info, one that is a peer’s is none', async t => {
  const { lines, close, key } = logged()
  for (const reason of ['done', 'client-reset', 'backend-reset'] as const) close(reason)
  t.same(lines, [])
  for (const reason of ['idle', 'half-closed', 'drained', 'removed', 'evicted', 'shutdown'] as const) close(reason)
  t.match(lines, Array(6).fill({ level: 'info', event: 'flow.cut', fields: { backend: key, sent: 5, received: 7 } }))
  t.same(
    lines.map(({ fields }) => fields?.reason),
    ['idle', 'half-closed', 'drained', 'removed', 'evicted', 'shutdown'],
  )
})

t.test('many ends with one reason are one line a second, which counts the others', async t => {
  const { lines, clock, close } = logged()
  for (let i = 0; i < 10; i++) close('drained')
  t.equal(lines.length, 1)
  await clock.advance(1000)
  close('drained')
  t.match(lines[1], { fields: { suppressed: 9 } })
})

t.test('a UDP session has no end but ours, so it is no news, unless it had to make room', async t => {
  const { lines, close } = logged('UDP')
  close('idle')
  t.same(lines, [])
  close('evicted')
  t.match(lines, [{ level: 'info', event: 'flow.cut', fields: { reason: 'evicted' } }])
})

/** Flows of a whole Starlane as they are recorded, with both engines: in the file of `recorder.file`. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { FlowEvent, FlowRecord } from '../../../proxy/model/flow-record.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod } from '../../support/world.ts'

for (const engine of ['streams', 'auto']) {
  t.test(`${engine}: connections, refusals, failures and questions are recorded`, async t => {
    const world = await createWorld(t, {
      config: {
        recorder: { file: { path: './flows.jsonl' } },
        health: { active: { type: 'none' } },
        proxy: { engine, drain: '300ms', dial: { attempts: 2 } },
        plugins: [{ use: 'tenancy', options: { tenants: { blue: ['127.78.0.0/16'] } } }],
        clusters: [
          { name: 'cluster-1', id: 1, source: { manifests: './cluster-1' }, tenant: 'red' },
          { name: 'cluster-2', id: 2, source: { manifests: './cluster-2' }, tenant: 'red' },
        ],
      },
    })
    const flows = (): FlowRecord[] =>
      readFileSync(join(world.folder, 'flows.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map(line => JSON.parse(line) as FlowEvent)
        .flatMap(event => ('flow' in event ? [event.flow] : []))
    await startPod(t, world.ip(11), 'one')
    await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
    await world.declare('cluster-1', { name: 'dead', clusterIP: world.ip(2), pods: [{ ip: world.ip(12) }] })
    await world.start()
    const service = 'default/rebel-base'
    t.equal(await ask(world.ip(1)), 'one')
    await t.rejects(ask(world.ip(2)))
    await t.rejects(ask(world.ip(1), 7000, '127.78.0.5'))
    await world.resolve('rebel-base.default.svc.cluster.local')
    const find = (wanted: (flow: FlowRecord) => boolean) =>
      eventually(() => {
        const found = flows().find(wanted)
        if (!found) throw new Error('not recorded yet')
        return found
      })
    t.match(
      await find(
        ({ starlane }) =>
          starlane.service === service && starlane.outcome === 'forwarded' && starlane.kind === 'connection',
      ),
      {
        IP: { destination: world.ip(11) },
        starlane: {
          frontend: `${world.ip(1)}:7000/TCP`,
          cluster: 'cluster-1',
          attempts: 1,
          received: 4,
          state: 'ended',
        },
      },
    )
    t.match(await find(({ verdict }) => verdict === 'ERROR'), {
      starlane: { service: 'default/dead', dial_outcome: 'refused', refusal: { code: 'no-backend' } },
    })
    t.match(await find(({ verdict }) => verdict === 'DROPPED'), {
      drop_reason_desc: 'POLICY_DENIED',
      IP: { source: '127.78.0.5' },
      starlane: { service, refusal: { code: 'tenancy' } },
    })
    t.match(await find(({ starlane }) => starlane.kind === 'question'), {
      l7: { dns: { query: 'rebel-base.default.svc.cluster.local.', qtypes: ['A'], rcode: 0, ips: [world.ip(1)] } },
      starlane: { service },
    })
  })
}

t.test('with recorder.size 0 nothing is recorded, and flows pass', async t => {
  const world = await createWorld(t, { config: { recorder: { size: 0 } } })
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  await world.start()
  t.equal(await ask(world.ip(1)), 'one')
  const socket = connect(7000, world.ip(1))
  socket.on('error', () => {})
  socket.destroy()
})

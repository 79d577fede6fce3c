/** PostgreSQL: psql, pgbench with and without connections that stay, and the several hosts of libpq. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Application, Stage } from './support/application.ts'
import { run, where } from './support/processes.ts'
import { untilRefused } from './support/refusal.ts'

const port = 5432
// PostgreSQL does not run as root.
const asNobody = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups']
const url = ({ host }: { host: string }) => `postgresql://nobody@${host}:${port}/postgres?connect_timeout=45`
const psql = (to: string, ...rest: string[]) => ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', ...rest, to]

export const postgresql: Application = {
  name: 'postgresql',
  needs: ['postgres', 'initdb', 'psql', 'pgbench', 'setpriv'],
  port,
  protocols: ['TCP'],
  // "Fast": connections are closed. SIGTERM would wait for clients for as long as they like.
  stopSignal: 'SIGINT',
  prepare: async folder => {
    const data = join(folder, 'data')
    await run(['sh', '-ec', `mkdir -m 777 "${data}" && chown nobody "${data}"`])
    const options = ['-U', 'nobody', '-A', 'trust', '--no-sync', '-D', data]
    await run([...asNobody, where('initdb') ?? '', ...options], { timeoutMs: 120_000 })
    await run(['sh', '-ec', `echo "host all all 0.0.0.0/0 trust" >> "${data}/pg_hba.conf"`])
  },
  server: async ({ ip, folder, name }, shared) => {
    await run(['cp', '-a', join(shared, 'data'), folder])
    const options = {
      ...{ listen_addresses: ip, port, cluster_name: name, unix_socket_directories: folder },
      ...{ fsync: 'off', max_connections: 50, shared_buffers: '16MB' },
    }
    const given = Object.entries(options).flatMap(([key, value]) => ['-c', `${key}=${value}`])
    return [...asNobody, where('postgres') ?? '', '-D', join(folder, 'data'), ...given]
  },
  once: async (place, to) => (await place.run(psql(url(to), '-c', 'show cluster_name'))).trim(),
  session: async (place, to) => {
    const client = place.open(psql(url(to)))
    return {
      use: async timeoutMs => {
        client.say(`show cluster_name;`)
        return (await client.hear(/^[a-z]+$/, timeoutMs))[0]
      },
      close: () => client.kill(),
    }
  },
  own: { pgbench, 'several hosts': severalHosts },
}

const bench = (stage: Stage, ...options: string[]) => [
  ...['pgbench', '-n', '-f', join(stage.shared, 'one.sql'), ...options, url(stage.target)],
]

/** No transaction of pgbench fails: with new connections through a rolling update, with old ones through flaps and a reload. */
async function pgbench(stage: Stage): Promise<void> {
  await run(['sh', '-ec', `echo 'select sum(i) from generate_series(1,100) i;' > ${join(stage.shared, 'one.sql')}`])
  const rolled = stage.place.run(bench(stage, '-C', '-c', '4', '-T', '8'), { timeoutMs: 90_000 })
  rolled.catch(() => {})
  await stage.startPod('three', 1)
  await stage.declare()
  await stage.endPod('one')
  await stage.startPod('one', 1)
  await stage.declare()
  await stage.endPod('three')
  check(await rolled)
  const kept = stage.pod.run(bench(stage, '-c', '4', '-T', '4'), { timeoutMs: 90_000 })
  kept.catch(() => {})
  for (const state of ['unready', 'ready', 'terminating', 'ready'] as const) {
    await stage.declare({ one: state })
    await new Promise(resolve => setTimeout(resolve, 400))
  }
  await stage.reload({ balancer: 'random' })
  check(await kept)
}

function check(report: string): void {
  const done = Number(/number of transactions actually processed: (\d+)/.exec(report)?.[1])
  const failed = Number(/number of failed transactions: (\d+)/.exec(report)?.[1])
  assert.ok(done >= 20 && failed === 0, report)
}

/** Of two hosts the first has no pod: it refuses, and libpq goes to the second at once. */
async function severalHosts(stage: Stage): Promise<void> {
  const pods = [...stage.pods.keys()]
  await Promise.all(pods.map(name => stage.endPod(name)))
  await stage.startPod('other', 1, '10.200.0.99')
  await untilRefused(stage.place, stage.target)
  const { host } = stage.target
  const to = `postgresql://nobody@${host}:${port},10.200.0.99:${port}/postgres?connect_timeout=45`
  const since = performance.now()
  const answer = await stage.place.run(psql(to, '-c', 'show cluster_name'))
  assert.equal(answer.trim(), 'other')
  const took = performance.now() - since
  assert.ok(took < 7000, `${Math.round(took)} ms`)
}

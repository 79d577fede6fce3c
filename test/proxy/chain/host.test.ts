/** The host of a plugin: tables, counters, clusters. */
import t from 'tap'
import { createHost } from '../../../proxy/chain/host.ts'
import type { LogFields } from '../../../proxy/model/log.ts'
import { hostParts, threeClusters } from '../../support/chain.ts'
import { FakeClock } from '../../support/clock.ts'

t.test('a table is bounded: the least recently used entry is evicted', async t => {
  const { host } = createHost('p', hostParts())
  const table = host.table<number>('t', { max: 3 })
  for (const [i, key] of ['a', 'b', 'c'].entries()) table.set(key, i)
  t.equal(table.get('a'), 0, 'which makes it the newest')
  table.set('d', 3)
  t.same([...table.entries()].sort(), [
    ['a', 0],
    ['c', 2],
    ['d', 3],
  ])
  t.equal(table.get('b'), undefined)
  table.delete('a')
  t.equal(table.size, 2)
})

t.test('a table drops entries that were not used for idleMs, by the clock of the host', async t => {
  const clock = new FakeClock()
  const { host } = createHost('p', hostParts({ clock }))
  const table = host.table<string>('t', { max: 10, idleMs: 1000 })
  table.set('read', 'x')
  table.set('left', 'y')
  await clock.advance(900)
  t.equal(table.get('read'), 'x')
  await clock.advance(200)
  t.equal(table.get('left'), undefined)
  t.equal(table.size, 1)
  await clock.advance(801)
  t.equal(table.get('read'), undefined, '1001 ms after it was read')
  t.same([...table.entries()], [])
})

t.test('log lines carry the name of the plugin', async t => {
  const lines: [string, LogFields?][] = []
  const write = (event: string, fields?: LogFields) => void lines.push(fields ? [event, fields] : [event])
  const { host } = createHost('p', hostParts({ log: { debug: write, info: write, warn: write, error: write } }))
  host.log.debug('a')
  host.log.info('b', { n: 1 })
  host.log.warn('c', { plugin: 'another' })
  host.log.error('d')
  t.same(lines, [
    ['a', { plugin: 'p' }],
    ['b', { n: 1, plugin: 'p' }],
    ['c', { plugin: 'p' }],
    ['d', { plugin: 'p' }],
  ])
})

t.test('clusters are the current ones', async t => {
  let clusters = threeClusters
  const { host } = createHost('p', { ...hostParts(), clusters: () => clusters })
  t.equal(host.cluster, clusters[0])
  clusters = [{ name: 'cluster-9', id: 9, local: true, tenant: 'blue' }]
  t.equal(host.clusters, clusters)
  t.equal(host.cluster.tenant, 'blue')
  clusters = []
  t.throws(() => host.cluster, /one of the clusters must be the local one/)
})

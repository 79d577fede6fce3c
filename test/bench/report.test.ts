// Statistics, tables, goals, pages and plots of the benchmark report.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { atMost, recordGoals, recordGroup } from '../../bench/report/all-goals.ts'
import { readDns } from '../../bench/report/dns-results.ts'
import { plot } from '../../bench/report/plot.ts'
import { page, tableText } from '../../bench/report/report.ts'
import { median, quotients, spread } from '../../bench/report/stats.ts'
import { betterPeer, type Group, ratio, type Sample, type Table } from '../../bench/report/table.ts'
import { judge, outcome } from '../../bench/report/verdicts.ts'

const machine = {
  cpu: 'A <fast> CPU',
  cores: 2,
  memoryGiB: 8,
  kernel: '6.18',
  congestionControl: 'bbr',
  node: 'v24',
  haproxy: '2.6',
  nginx: '1.22',
  wrk: '4.1',
  iperf3: '3.12',
}

function cpu(...values: number[]): Sample[] {
  return values.map(cpuUs => ({ cpuUs, failed: 1 }))
}

const table: Table = {
  key: 'keep-alive',
  title: 'Requests & more',
  how: 'By hand.',
  columns: [
    { key: 'cpuUs', title: 'CPU us/request', digits: 1 },
    { key: 'p99Us', title: 'p99 us', digits: 0, plotted: true },
    { key: 'failed', title: 'failed', digits: 0, sum: true },
  ],
  peers: ['haproxy', 'nginx'],
  rows: [
    { name: 'direct', samples: [{ p99Us: 70 }] },
    { name: 'native alone', samples: cpu(9, 12, 9) },
    { name: 'starlane, native', samples: cpu(11, 13, 15) },
    { name: 'haproxy', samples: cpu(10, 20, 10) },
    { name: 'nginx', samples: cpu(30, 30, 30) },
    { name: 'envoy', samples: [], note: 'is not\ninstalled' },
  ],
}

const group: Group = {
  ...{ name: 'requests', title: 'Small requests', at: '2026-11-27T04:05:06.000Z', machine, loadBefore: 0.25 },
  ...{ rounds: 3, seconds: 2, tables: [table] },
}

t.test('a median is the middle value, or the mean of the middle two', async t => {
  t.equal(median([30, 1, 2]), 2)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(median([]), undefined)
  t.same(spread([10, 9, 100]), { median: 10, low: 9, high: 100 })
})

t.test(
  'a ratio is the median of the quotients within a round, so that a disturbance of a whole round has no effect',
  async t => {
    t.same(quotients([9, 18, 9], [10, 20, 10]), { median: 0.9, low: 0.9, high: 0.9 })
    t.equal(quotients([1, 2], []), undefined)
    t.same(ratio(table, 'native alone', 'haproxy'), { median: 0.9, low: 0.6, high: 0.9 })
    t.equal(ratio(table, 'native alone', 'envoy'), undefined, 'it has no samples')
  },
)

t.test('the better peer is the one with the lower median', async t => {
  t.equal(betterPeer(table), 'haproxy')
  t.equal(betterPeer(table, ['nginx', 'envoy']), 'nginx')
  t.equal(betterPeer(table, ['envoy']), undefined)
})

t.test('a table has medians, spreads, ratios to each peer, and the reason for an empty row', async t => {
  const lines = tableText(table).split('\n')
  const line = (name: string) => lines.find(line => line.startsWith(`| ${name} |`))
  t.match(lines, ['### Requests & more', '', 'By hand.'])
  t.ok(lines.includes('|  | CPU us/request | spread | x haproxy | x nginx | p99 us | failed |'))
  t.equal(line('native alone'), '| native alone | 9.0 | 9.0-12.0 | 0.90 | 0.30 |  | 3 |')
  t.equal(line('direct'), '| direct |  |  |  |  | 70 |  |')
  t.equal(line('envoy'), '| envoy | is not; installed |  |  |  |  |  |')
})

const goal = {
  ...{ what: 'CPU of a request', unit: 'x', table: 'keep-alive', against: ['haproxy', 'nginx'], bound: 'the kernel' },
  ...{ engine: 'native alone', product: 'starlane, native' },
}

t.test('a goal is met, met by the engine alone, missed by a percentage, or not measured', async t => {
  const outcomes = (limit: number, rest = {}) => judge([group], [{ ...goal, limit, ...rest }]).map(outcome)
  t.same(outcomes(1.1), ['met'])
  t.same(outcomes(0.9), ['met by the engine; the product misses by 23 %'])
  t.same(outcomes(0.6), ['missed by 50 %'])
  t.same(outcomes(1, { table: 'udp' }), ['not measured'])
  t.same(outcomes(1, { against: ['envoy'] }), ['not measured'])
  t.same(outcomes(1, { against: ['nginx', 'envoy'] }), ['not measured'], 'one of its peers was not there')
})

t.test('a goal without peers judges the figure itself, in the column it names', async t => {
  const { against: _, ...absolute } = goal
  const [verdict] = judge([group], [{ ...absolute, limit: 10 }])
  t.equal(verdict?.engine?.median, 9)
  const [latency] = judge([group], [{ ...absolute, limit: 70, column: 'p99Us', engine: 'direct' }])
  t.equal(latency?.engine?.median, 70)
})

t.test('the page shows the goals, then each group with its plot, machine and tables', async t => {
  const text = page([group], judge([group], [{ ...goal, limit: 0.9 }]))
  t.match(text, '| CPU of a request | 0.9x | 0.90 (0.60 to 0.90) | 1.10 (0.65 to 1.50) |')
  t.match(text, '![Small requests](proxy/requests.svg)')
  t.match(text, '2026-11-27 04:05 UTC, 3 rounds of 2 s, load average before it 0.3. A <fast> CPU, 2 cores')
  t.notMatch(text, 'proxy/dns.svg', 'DNS has no results')
  const dns = { ...group, name: 'dns', title: 'DNS answers' }
  t.match(page([group], [], dns), '![DNS answers](proxy/dns.svg)')
  t.ok(text.indexOf('## Goals') < text.indexOf('## Small requests'))
})

t.test('a plot has a bar for each measured row, the better peer and the ratio to it', async t => {
  const svg = plot(group)
  const bars = [...svg.matchAll(/<rect class="(product|engine|peer|other)" x="\d+" y="[\d.]+" width="([\d.]+)"/g)]
  t.same(
    bars.map(([, kind]) => kind),
    ['engine', 'product', 'peer', 'peer', 'other'],
  )
  const [native, , haproxy] = bars.map(([, , width]) => Number(width))
  t.equal(native, Math.round((haproxy ?? 0) * 9) / 10, 'length in proportion to the value')
  t.match(svg, /class="ratio ahead"[^>]*>0\.90</)
  t.match(svg, /class="ratio"[^>]*>1\.10</)
  t.match(svg, 'x haproxy')
  t.match(svg, 'A &lt;fast&gt; CPU')
  t.match(svg, 'Requests &amp; more')
  t.notMatch(svg, /NaN|undefined|Infinity/)
})

t.test('a plot of zeros, or without tables, is valid', async t => {
  const zero = { ...table, rows: [{ name: 'nginx', samples: cpu(0) }] }
  t.notMatch(plot({ ...group, tables: [zero] }), /NaN|Infinity/)
  t.match(plot({ ...group, tables: [] }), /<svg[^>]*>/)
})

t.test('stored results of the DNS benchmark become a group; without them there is none', async t => {
  const file = join(t.testdir(), 'dns.json')
  t.equal(readDns(file), undefined)
  const head = ['', 'CPU us/query', 'x unbound', 'lost']
  const rows = [
    ['starlane, native', '4.00', '0.80', '0'],
    ['unbound', '5.00', '1.00', '0'],
  ]
  const tables = [{ title: '100 names', head, rows }]
  writeFileSync(file, JSON.stringify({ machine, rounds: 6, seconds: 2, tables }))
  const dns = readDns(file)
  const limited = { ...goal, table: 'dns-100 names', against: ['unbound'], limit: 0.85 }
  t.same(judge(dns ? [dns] : [], [limited]).map(outcome), ['met'])
})

t.test('the stored pages are those that the stored results render to', async t => {
  const stored = (name: string) => readFileSync(new URL(`../../bench/results/${name}`, import.meta.url), 'utf8')
  const { groups } = JSON.parse(stored('proxy.json')) as { groups: Group[] }
  const dns = readDns(new URL('../../bench/results/dns.json', import.meta.url).pathname)
  const all = dns ? [...groups, dns] : groups
  const verdicts = judge(all)
  t.equal(stored('proxy.md'), page(groups, verdicts, dns), 'npm run bench -- --report writes them again')
  for (const group of all) t.equal(stored(`proxy/${group.name}.svg`), plot(group), group.name)
  for (const verdict of verdicts) t.not(outcome(verdict), 'not measured', verdict.goal.what)
})

t.test('the page of all goals has a row for each that was measured, and keeps those of other benchmarks', async t => {
  const folder = pathToFileURL(`${t.testdir()}/`)
  const page = () => readFileSync(new URL('README.md', folder), 'utf8')
  recordGoals(
    {
      ...{ title: 'Footprint', command: 'npm run bench:footprint', page: 'footprint/README.md' },
      rows: [...atMost('idle', [70, 61, 64], 60, ' MiB', 1), ...atMost('ready', [200], 250, ' ms')],
    },
    folder,
  )
  t.match(page(), '1 of 2 goals are met')
  t.match(page(), '| idle | at most 60 MiB | 64.0 (61.0 to 70.0) MiB | **no** |')
  t.match(page(), '| ready | at most 250 ms | 200 ms | yes |')
  recordGroup(group, 'proxy.md', 'npm run bench -- --only=requests', folder)
  t.match(page(), '1 of 3 goals are met')
  t.match(page(), '| at most 0.85x | 1.10 (0.65 to 1.50) | **no** |', 'the whole product is judged')
  t.match(
    page(),
    '`npm run bench -- --only=requests`, 2026-11-27 04:05 UTC, A <fast> CPU, 2 cores: [the page](proxy.md)',
  )
  recordGoals(
    {
      ...{ title: 'Footprint', command: 'npm run bench:footprint', page: 'footprint/README.md' },
      rows: atMost('idle', [59], 60, ' MiB', 1),
    },
    folder,
  )
  t.match(page(), '1 of 2 goals are met', 'a later run replaces its rows')
  t.same(atMost('nothing measured', [], 60, ' MiB'), [])
})

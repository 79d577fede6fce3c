/**
 * Alerts, dashboard and the examples of docs/metrics.md: their queries run against a real Prometheus that scrapes a real Starlane.
 * Skipped where Debian's prometheus is not installed.
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { describedMetrics, examples, renderMetrics } from '../../../scripts/metrics.ts'
import { eventually } from '../../support/eventually.ts'
import { ask, createWorld, startPod } from '../../support/world.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))
const text = (path: string) => readFileSync(join(root, path), 'utf8')
const lacks = (program: string) =>
  (process.env.PATH ?? '').split(delimiter).some(dir => existsSync(join(dir, program)))
    ? false
    : `${program} is not installed`

interface Alert {
  readonly alert: string
  readonly expr: string
  readonly annotations: Readonly<Record<string, string>>
}

interface Panel {
  readonly title: string
  readonly targets?: readonly { readonly expr: string }[]
}

const { spec } = parse(text('deploy/monitoring/prometheus-rule.yaml')) as {
  spec: { groups: readonly { rules: readonly Alert[] }[] }
}
const alerts = spec.groups.flatMap(({ rules }) => rules)
const dashboard = JSON.parse(text('deploy/monitoring/dashboard.json')) as { panels: readonly Panel[] }
const panels = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))

/** As Grafana fills them in with "All". */
const filled = (expr: string) =>
  expr.replaceAll(/\$(instance|namespace|service)/g, '.*').replaceAll('$__rate_interval', '1m')

/** The names of metrics in a query, without what histograms add. */
function namesIn(expr: string): string[] {
  const names = expr.match(/\b(starlane|process|nodejs)_\w+/g) ?? []
  return names.map(name => name.replace(/_(bucket|sum|count)$/, ''))
}

t.test('docs/metrics.md is what the registry has, with an example for each', async t => {
  t.equal(text('docs/metrics.md'), await renderMetrics(), 'run node scripts/metrics.ts')
  const own = (await describedMetrics()).filter(({ name }) => name.startsWith('starlane_'))
  t.same(Object.keys(examples).sort(), own.map(({ name }) => name).sort())
  for (const { name, help, type } of own) {
    t.match(help, /^[A-Z1].+\.$/, `${name} has a meaning`)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is named as its type asks`)
    t.ok(namesIn(examples[name] ?? '').includes(name), `the example of ${name} is one of it`)
  }
  const page = await renderMetrics()
  for (const name of ['circuit_breaker_opened', 'policy_refused', 'session_affinity_kept'])
    t.ok(page.includes(`### starlane_plugin_${name}_total`), name)
})

t.test('alerts and dashboard ask only for metrics that there are', async t => {
  const known = new Set((await describedMetrics()).map(({ name }) => name))
  t.ok(alerts.length > 10 && panels.length > 15)
  for (const { title, expr } of [...panels, ...alerts.map(({ alert: title, expr }) => ({ title, expr }))])
    for (const name of namesIn(expr)) t.ok(known.has(name), `${title}: ${name}`)
})

t.test('each alert links to a section that there is', async t => {
  const anchors = [...text('docs/troubleshooting.md').matchAll(/^## (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(' ', '-')
      .replaceAll(/[^a-z-]/g, ''),
  )
  for (const { alert, annotations } of alerts) {
    const [file, anchor] = annotations.runbook_url?.split('#') ?? []
    t.equal(file, 'docs/troubleshooting.md', alert)
    t.ok(anchors.includes(anchor ?? ''), `${alert}: ${anchor}`)
  }
})

t.test('promtool: the rules are valid, and fire when they should', { skip: lacks('promtool') }, async t => {
  const folder = t.testdir({ 'rules.yaml': stringify(spec) })
  const check = await run('promtool', ['check', 'rules', 'rules.yaml'], { cwd: folder })
  t.match(check.stdout, `${alerts.length} rules found`)
  const cases = parse(text('test/deploy/monitoring/alerts.yaml')) as {
    tests: { alert_rule_test: { alertname: string; exp_alerts: { exp_annotations?: object }[] }[] }[]
  }
  const fired = cases.tests.flatMap(each => each.alert_rule_test.filter(({ exp_alerts }) => exp_alerts.length > 0))
  t.same([...new Set(fired.map(({ alertname }) => alertname))].sort(), alerts.map(({ alert }) => alert).sort())
  // What people read is not a matter of these tests, but promtool compares it.
  for (const rule of alerts) delete (rule as { annotations?: object }).annotations
  writeFileSync(join(folder, 'rules.yaml'), stringify(spec))
  writeFileSync(join(folder, 'alerts.yaml'), text('test/deploy/monitoring/alerts.yaml'))
  const tested = await run('promtool', ['test', 'rules', 'alerts.yaml'], { cwd: folder }).catch(error => error)
  t.equal(tested.code, undefined, `${tested.stdout}${tested.stderr}`)
})

t.test(
  'a real Prometheus scrapes a real Starlane: every query has an answer',
  { skip: lacks('prometheus') },
  async t => {
    const metrics = '127.0.0.1:29912'
    const world = await createWorld(t, { config: { admin: { listen: '127.0.0.1:0', metrics } } })
    await startPod(t, world.ip(11), 'one')
    await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
    await world.declare('cluster-1', { name: 'dead', clusterIP: world.ip(2), pods: [{ ip: world.ip(12) }] })
    await world.declare('cluster-2', { clusterIP: world.ip(3), pods: [{ ip: world.ip(11) }] })
    await world.start()
    const { query } = await startPrometheus(t, metrics)
    const use = async () => {
      await ask(world.ip(1))
      await ask(world.ip(2)).catch(() => {})
      await world.resolve('rebel-base.default.svc.cluster.local')
      await world.resolve('nobody.default.svc.cluster.local').catch(() => {})
    }
    await use()
    await eventually(async () => assert.ok((await query('starlane_refusals_total')).length > 0), 15_000)
    // A rate needs two scrapes with different counts.
    await eventually(async () => {
      await use()
      const [rate] = await query('sum(rate(starlane_refusals_total[1m]))')
      assert.ok(Number(rate) > 0, 'refusals are counted')
    }, 30_000)
    for (const { title, expr } of panels) {
      const values = await query(filled(expr))
      t.ok(values.length > 0, `${title}: ${expr}`)
    }
    for (const [name, expr] of Object.entries(examples)) t.ok(await query(expr), name)
    for (const { alert, expr } of alerts) t.ok(await query(expr), alert)
    const [unreachable] = await query('starlane_problems{code="SERVICE_UNREACHABLE"}')
    t.equal(unreachable, '1', 'the alert of an unreachable service has its value')
    const [up] = await query('up{job="starlane-metrics"}')
    t.equal(up, '1')
  },
)

t.test('exemplars: Prometheus keeps the flow behind a bucket', { skip: lacks('prometheus') }, async t => {
  const metrics = '127.0.0.1:29913'
  const world = await createWorld(t, { config: { admin: { listen: '127.0.0.1:0', metrics, exemplars: true } } })
  await startPod(t, world.ip(11), 'one')
  await world.declare('cluster-1', { clusterIP: world.ip(1), pods: [{ ip: world.ip(11) }] })
  await world.start()
  await ask(world.ip(1))
  const accept = 'application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.5'
  const scrape = await fetch(`http://${metrics}/metrics`, { headers: { accept } })
  t.equal(scrape.headers.get('content-type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  const body = await scrape.text()
  t.match(body, /^# TYPE starlane_attempts counter$/m)
  t.match(body, /^starlane_attempts_total\{/m)
  t.match(body, /\n# EOF\n$/)
  t.notMatch(body, /\n\n/)
  t.notMatch(await (await fetch(`http://${metrics}/metrics`)).text(), / # \{/, 'only for those who ask')

  const { api } = await startPrometheus(t, metrics, { port: 29_091, flags: ['--enable-feature=exemplar-storage'] })
  const find = async () => {
    const now = Date.now() / 1000
    const asked = new URLSearchParams({
      query: 'starlane_dial_duration_seconds_bucket',
      start: `${now - 600}`,
      end: `${now + 60}`,
    })
    const { data } = (await api(`query_exemplars?${asked}`)) as { data: { exemplars: { labels: object }[] }[] }
    return data.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels))
  }
  await eventually(async () => assert.ok((await find()).length > 0), 30_000)
  t.match((await find())[0], {
    client: /^127\.0\.0\.1:\d+$/,
    service: 'default/rebel-base',
    backend: `cluster-1/${world.ip(11)}:8000/TCP`,
  })
})

t.test('monitors find what the overlays make', async t => {
  const all = (path: string) => parseAllDocuments(text(path)).map(each => each.toJS())
  const [sidecar] = all('deploy/overlays/sidecar/sidecar.yaml')
  const pod = sidecar.spec.template
  const [monitor] = all('deploy/monitoring/pod-monitor.yaml')
  for (const [label, value] of Object.entries(monitor.spec.selector.matchLabels))
    t.equal(pod.metadata.labels[label], value, label)
  const containers = [...(pod.spec.initContainers ?? []), ...(pod.spec.containers ?? [])]
  const ports = containers.flatMap(({ ports = [] }) => ports.map(({ name }: { name: string }) => name))
  for (const { port } of monitor.spec.podMetricsEndpoints) t.ok(ports.includes(port), port)
  const { resources } = all('deploy/monitoring/kustomization.yaml')[0]
  t.ok(resources.includes('pod-monitor.yaml'))
})

interface Prometheus {
  /** The values of a query; rejects for one that is wrong. */
  query(expr: string): Promise<string[]>
  api(path: string): Promise<unknown>
}

async function startPrometheus(
  t: Test,
  target: string,
  { port = 29_090, flags = [] as string[] } = {},
): Promise<Prometheus> {
  const address = `127.0.0.1:${port}`
  const config = {
    global: { scrape_interval: '500ms', scrape_timeout: '500ms' },
    scrape_configs: [{ job_name: 'starlane-metrics', honor_labels: true, static_configs: [{ targets: [target] }] }],
  }
  const folder = t.testdir({ 'prometheus.yaml': stringify(config) })
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yaml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${address}`,
      '--log.level=error',
      ...flags,
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const closed = new Promise(resolve => child.once('close', resolve))
  t.teardown(async () => {
    child.kill('SIGTERM')
    await closed
  })
  await eventually(async () => assert.ok((await fetch(`http://${address}/-/ready`)).ok), 20_000)
  const api = async (path: string) => (await fetch(`http://${address}/api/v1/${path}`)).json()
  const query = async (expr: string) => {
    const answer = await fetch(`http://${address}/api/v1/query`, {
      method: 'POST',
      body: new URLSearchParams({ query: expr }),
    })
    const { status, error, data } = (await answer.json()) as {
      status: string
      error?: string
      data: { result: { value: [number, string] }[] }
    }
    if (status !== 'success') throw new Error(`${expr}: ${error}`)
    return data.result.map(({ value }) => value[1])
  }
  return { query, api }
}

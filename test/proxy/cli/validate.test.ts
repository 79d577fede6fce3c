/** `starlane validate`: its text, JSON and exit codes. */
import { EventEmitter } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { validate } from '../../../proxy/cli/validate.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'
import type { Report } from '../../../proxy/runtime.ts'

const report: Report = {
  clusters: [
    {
      name: 'cluster-1',
      source: 'manifests conf/demo/cluster-1',
      read: true,
      services: 5,
      globalServices: 3,
      backends: 4,
      ignored: ['Deployment (apps/v1)', 'Secret (v1)'],
    },
    {
      name: 'cluster-2',
      source: 'kubernetes kind-2',
      read: false,
      services: 0,
      globalServices: 0,
      backends: 0,
      ignored: [],
    },
  ],
  chain: [
    { name: 'tenancy', from: 'built-in', hooks: ['admit', 'candidates'], onError: 'refuse' },
    { name: 'circuit-breaker', from: 'built-in', hooks: ['candidates', 'onConnect', 'onResult'], onError: 'skip' },
    { name: 'session-affinity', from: 'built-in', hooks: ['pick', 'onConnect'], onError: 'skip' },
    { name: 'canary-eu', from: './canary.js', hooks: ['candidates'], onError: 'skip' },
  ],
  problems: [],
}

function check(t: Test, given: { conf?: string; report?: Report; output?: 'json' } = {}) {
  const folder = t.testdir({})
  const config = join(folder, 'starlane.yaml')
  writeFileSync(config, given.conf ?? 'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\n')
  let out = ''
  const output = {
    write: (text: string) => {
      out += text
    },
  }
  const io = { stdout: output, stderr: output, env: {}, clock: systemClock, process: new EventEmitter() }
  const options = { config, ...(given.output ? { output: given.output } : {}) }
  return validate(io, options, async () => given.report ?? report).then(code => ({
    code,
    out: out.replaceAll(`${folder}/`, ''),
  }))
}

t.test('a good configuration shows its clusters and its plugins in order', async t => {
  const { code, out } = await check(t)
  t.equal(code, 0)
  t.equal(
    out,
    `\
starlane.yaml: good

CLUSTER    SERVICES  GLOBAL  BACKENDS  SOURCE
cluster-1         5       3         4  manifests conf/demo/cluster-1
cluster-2         -       -         -  kubernetes kind-2 (not contacted)

not read in cluster-1: Deployment (apps/v1), Secret (v1)

#  PLUGIN            FROM         ADMIT  CANDIDATES  PICK  WATCHES         ON ERROR
1  tenancy           built-in     ●      ●           ·     ·               refuse
2  circuit-breaker   built-in     ·      ●           ·     connect result  skip
3  session-affinity  built-in     ·      ·           ●     connect         skip
4  canary-eu         ./canary.js  ·      ●           ·     ·               skip
`,
  )
})

t.test('every fault of the file is listed with its line, and nothing else is checked', async t => {
  const conf = 'cluster: one\nclusters:\n  - name: one\n    id: 999\nproxy:\n  drain: 30\n  engin: auto\n'
  const { code, out } = await check(t, { conf })
  t.equal(code, 1)
  t.match(out, /^starlane\.yaml: 4 problems\n\n/)
  t.match(out, /^CONF_FIELD {2}starlane\.yaml:6 {2}proxy\.drain: 30 has no unit; write 30s or 30ms$/m)
  t.match(out, /^CONF_FIELD {2}starlane\.yaml:7 {2}proxy\.engin: .*did you mean "engine"/m)
  t.match(out, /^CONF_FIELD {2}starlane\.yaml:4 {2}clusters\[0\]\.id: 999/m)
  t.notMatch(out, 'PLUGIN')
})

t.test('problems of manifests and plugins give exit code 1, warnings do not', async t => {
  const problems: Report['problems'] = [
    { code: 'SOURCE_OBJECT', where: 'cluster-1/a.yaml:12', message: 'spec.ports[0].port: "http" is no \x1b[31mport' },
  ]
  const bad = await check(t, { report: { ...report, problems } })
  t.equal(bad.code, 1)
  t.match(
    bad.out,
    'starlane.yaml: 1 problem\n\nSOURCE_OBJECT  cluster-1/a.yaml:12  spec.ports[0].port: "http" is no port\n',
  )

  const conf =
    'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\nadmin: { listen: 0.0.0.0:9911 }\n'
  const warned = await check(t, { conf })
  t.equal(warned.code, 0)
  t.match(
    warned.out,
    /^starlane\.yaml: good, 1 warning\n\nwarning {2}CONF_FIELD {2}starlane\.yaml:3 {2}admin\.listen: /,
  )
})

t.test('-o json has the same, for programs', async t => {
  const { code, out } = await check(t, { output: 'json' })
  t.equal(code, 0)
  t.match(JSON.parse(out), { good: true, ...report })
  const faulty = await check(t, { output: 'json', conf: 'cluster: [\n' })
  t.equal(faulty.code, 1)
  t.match(JSON.parse(faulty.out), {
    good: false,
    problems: [{ severity: 'error', code: 'CONF_FILE', where: /starlane\.yaml:\d/, message: /./ }],
    clusters: [],
    chain: [],
  })
  const conf =
    'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\nadmin: { listen: 0.0.0.0:9911 }\n'
  const warned = await check(t, { output: 'json', conf })
  t.match(JSON.parse(warned.out), { good: true, problems: [{ severity: 'warning', message: /^admin\.listen: / }] })
})

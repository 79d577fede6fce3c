/** The commands that show a running Starlane: their text, JSON, colours, exit codes and errors. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import type { ServiceView, Status } from '../../../proxy/model/views.ts'
import { eventually } from '../../support/eventually.ts'
import { explanation, nameExplanation, services, status } from '../admin/fixture.ts'
import { openStage, runLine, startLine } from './stage.ts'

const fine: Status = {
  ...status,
  components: status.components.map(component => ({ ...component, state: 'ok' })),
  problems: status.problems.filter(({ severity }) => severity === 'warning'),
  clusters: status.clusters.map(cluster => ({ ...cluster, link: { state: 'live', since: status.startedAt } })),
}

t.test('status shows components, clusters and problems', async t => {
  const { run } = await openStage(t)
  const { code, out, err } = await run('status')
  t.equal(code, 1, 'a lost cluster is not OK')
  t.equal(err, '')
  t.equal(
    out,
    `\
Starlane 0.1.0 in cluster-1: ready, up 3h12m

Sources  error  2 of 3 clusters answer; lost: cluster-3
DNS      OK     127.0.0.1:5353 for cluster.local and clusterset.local
Proxy    OK     4 listeners, 17 connections, 2 UDP sessions
Health   OK     7 backends checked, 1 down, 1 ejected
Plugins  OK     tenancy, affinity

CLUSTER            ID  LINK                      SERVICES  BACKENDS  CHANGED
cluster-1 (local)   1  live 3h                          5         4  12s ago
cluster-2           2  live 3m20s                       9         3  1m35s ago
cluster-3           3  lost 42s, stale in 9m18s         2         2  2h ago

1 error, 1 warning:
  error  CLUSTER_LOST  cluster-3
    connect ECONNREFUSED 127.0.0.1:2379
  warning  SERVICE_ANNOTATION  conf/demo/cluster-1/rebel-base.yaml:8
    service.cilium.io/affinity: "locl" means nothing; write local, remote or none
`,
  )
})

t.test('status of one cluster shows which services use it, and exits by its link alone', async t => {
  const { run } = await openStage(t)
  const lost = await run('status --context cluster-3')
  t.equal(lost.code, 1)
  t.equal(
    lost.out,
    `\
cluster-3, a remote cluster, id 3

Link      lost 42s, stale in 9m18s
Error     connect ECONNREFUSED 127.0.0.1:2379
Source    etcd /var/lib/cilium/clustermesh/cluster-3
Changed   2h ago
Services  2, 1 global
Backends  2

SERVICE             BACKENDS  HEALTHY  TAKING FLOWS
default/rebel-base         1        1             1
empire/deathstar           1        1             1
`,
  )
  t.match(await run('status --context cluster-2'), { code: 0, out: /Tenant +blue/ })
  t.match(await run('status --context nowhere'), {
    code: 1,
    err: /no cluster "nowhere".*cluster-1, cluster-2, cluster-3/,
  })
})

t.test('status exits with 0 only when all is OK', async t => {
  const shows = async (seen: Status, line = 'status') =>
    (await (await openStage(t, { status: () => seen })).run(line)).code
  t.equal(await shows(fine), 0, 'a warning is no error')
  t.equal(await shows(fine, 'status --strict'), 1, 'unless it is to count')
  t.equal(await shows({ ...fine, problems: [] }, 'status --strict'), 0)
  t.equal(await shows({ ...fine, problems: status.problems }), 1)
  t.equal(await shows({ ...fine, components: fine.components.map(c => ({ ...c, state: 'disabled' })) }), 0)
  t.equal(await shows({ ...fine, ready: false }), 1)
  t.equal(await shows({ ...fine, components: fine.components.map(c => ({ ...c, state: 'error' })) }), 1)
  t.equal(await shows({ ...fine, clusters: status.clusters }), 1)
})

t.test('status --wait polls until all is OK, and prints what it waits for', async t => {
  let asked = 0
  const states = [{ ...fine, ready: false, waiting: ['source cluster-2'] }, status, fine]
  const { run } = await openStage(t, { status: () => states[Math.min(asked++, 2)] ?? fine })
  const { code, out, err } = await run('status --wait')
  t.equal(code, 0)
  t.match(out, /^Starlane 0\.1\.0 in cluster-1: ready/)
  t.equal(err, 'waiting for source cluster-2\nwaiting for Sources, cluster-3\n')
})

t.test('status --wait stops at its timeout, with or without an answer', async t => {
  const { run } = await openStage(t)
  t.match(await run('status --wait --timeout 10ms'), { code: 1, out: /error/, err: /not OK within/ })
  const nobody = await runLine(['status', '--wait', '--timeout', '10ms', '--admin', '127.0.0.1:1'])
  t.match(nobody, { code: 1, out: '', err: /ADMIN_UNREACHABLE/ })
  t.match(await run('status --wait --context cluster-2'), { code: 0 }, 'one cluster is waited for alone')
})

t.test('a Starlane that drains is shown as stopping, not as starting', async t => {
  const seen = { ...status, ready: false, stopping: true, waiting: ['1 connection and 0 UDP sessions to end'] }
  const { out } = await (await openStage(t, { status: () => seen })).run('status')
  t.match(out, /cluster-1: stopping, waiting for 1 connection and 0 UDP sessions to end, up/)
})

t.test('an ExternalName service shows the name', async t => {
  const [service] = services
  const external = { ...service, externalName: 'db.example.com', frontends: [], backends: [] } as ServiceView
  const { out } = await (await openStage(t, { services: () => [external] })).run('services')
  t.match(out, /ExternalName db\.example\.com +none/)
})

t.test('services are listed beside their backends', async t => {
  const { run } = await openStage(t)
  const { code, out } = await run('services')
  t.equal(code, 0)
  t.equal(
    out,
    `\
SERVICE             FRONTEND              BACKEND                      HEALTH
default/rebel-base  127.96.0.10:80        ● cluster-1/127.1.0.11:8080  up
                                          · cluster-1/127.1.0.12:8080  ejected
                                          · cluster-1/127.1.0.13:8080  terminating
                                          ● cluster-2/127.2.0.11:8080  up
                                          · cluster-2/127.2.0.12:8080  down
                                          ● cluster-3/127.3.0.11:8080  unknown
empire/deathstar    127.96.0.20:443       ● cluster-1/127.1.0.21:8443  up
                    127.96.0.20:5000/UDP  · cluster-2/127.2.0.21:8443  up
                                          ● cluster-3/127.3.0.21:5000  unknown
jedi/holocron       headless              none
`,
  )
  t.equal(
    (await run('services -o wide')).out,
    `\
SERVICE             FRONTEND                    BACKEND              CLUSTER    STATE        HEALTH   FLOWS
default/rebel-base  127.96.0.10:80/TCP http     127.1.0.11:8080/TCP  cluster-1  active       up       ●
                                                127.1.0.12:8080/TCP  cluster-1  active       ejected  ·
                                                127.1.0.13:8080/TCP  cluster-1  terminating  up       ·
                                                127.2.0.11:8080/TCP  cluster-2  active       up       ●
                                                127.2.0.12:8080/TCP  cluster-2  active       down     ·
                                                127.3.0.11:8080/TCP  cluster-3  active       unknown  ●
empire/deathstar    127.96.0.20:443/TCP https   127.1.0.21:8443/TCP  cluster-1  active       up       ●
                    127.96.0.20:5000/UDP comms  127.2.0.21:8443/TCP  cluster-2  active       up       ·
                                                127.3.0.21:5000/UDP  cluster-3  active       unknown  ●
jedi/holocron       headless                    none
`,
  )
  const none = await openStage(t, { services: () => [] })
  t.equal((await none.run('services')).out, 'There are no services.\n')
})

t.test('services by namespace, by condition, as names and as YAML', async t => {
  const { run } = await openStage(t)
  t.equal((await run('services -o name')).out, 'default/rebel-base\nempire/deathstar\njedi/holocron\n')
  t.equal((await run('services -n empire -o name')).out, 'empire/deathstar\n')
  t.equal((await run('services --unhealthy -o name')).out, 'default/rebel-base\n')
  t.equal(
    (await run('services -n empire --unhealthy')).out,
    'No service in empire is unreachable, reduced or without backends.\n',
  )
  t.equal((await run('services -n none')).out, 'There are no services in none.\n')
  t.match((await run('services deathstar -n empire')).out, /^empire\/deathstar\n/)
  t.match((await run('services rebel-base')).out, /^Condition {2}reduced: 2 of 6 backends: 1 ejected, 1 down$/m)
  t.match((await run('services -n empire -o yaml')).out, /^- namespace: empire\n {2}name: deathstar\n/)
  t.match((await run('explain rebel-base -o yaml')).out, /^namespace: default\n/)
})

t.test('an open circuit breaker is a note in the list', async t => {
  const [service] = services as readonly [ServiceView]
  const backends = service.backends.map((backend, i) => ({
    ...backend,
    notes: { 'circuit-breaker': { state: i === 0 ? 'open' : 'closed' } },
  }))
  const { run } = await openStage(t, { services: () => [{ ...service, backends }] })
  const { out } = await run('services')
  t.match(out, / HEALTH +NOTES\n.* up +circuit-breaker open\n/)
  t.equal(out.match(/circuit-breaker/g)?.length, 1, 'a closed one says nothing')
})

t.test('status, services and top fit in 80 columns', async t => {
  const detail = 'tcp checks every 2-8 s of 300 addresses, 20 left out for traffic; 10 backends down, 20 ejected'
  const { run } = await openStage(t, {
    status: () => ({ ...status, components: [{ name: 'Health', state: 'ok', detail }] }),
  })
  for (const line of ['status', 'services -n default']) {
    const { out } = await run(line, { columns: 80, isTTY: true })
    for (const each of stripVTControlCharacters(out).split('\n')) t.ok(each.length <= 80, each)
  }
})

t.test('--watch shows it again in place, and elsewhere when it has changed', async t => {
  let asked = 0
  const stage = await openStage(t, { services: () => (asked++ < 2 ? services : []) })
  const env = { STARLANE_ADMIN: stage.admin }
  const piped = startLine(['services', '--watch'], { env })
  await eventually(() => assert.match(piped.said.out, /jedi\/holocron[\s\S]*\n\nThere are no services\.\n$/), 10_000)
  piped.signal('SIGINT')
  t.equal((await piped.ended).code, 0)
  const shown = startLine(['status', '--watch'], { env, isTTY: true, columns: 80 })
  await eventually(() => assert.ok(shown.said.out.startsWith('\x1b[H')))
  shown.signal('SIGINT')
  t.equal((await shown.ended).code, 1, 'as status without --watch')
})

t.test('one service is shown with its settings and all columns of its backends', async t => {
  const { run } = await openStage(t)
  t.equal(
    (await run('services empire/deathstar')).out,
    `\
empire/deathstar

Frontends  127.96.0.20:443/TCP https
           127.96.0.20:5000/UDP comms
Settings   global; not shared; affinity local; at least 30% healthy local backends
Changed    1h ago

BACKEND              CLUSTER    STATE   HEALTH   FLOWS  WEIGHT  PORTS  NODE  ZONE
127.1.0.21:8443/TCP  cluster-1  active  up       ●         100  https
127.2.0.21:8443/TCP  cluster-2  active  up       ·          20  https
127.3.0.21:5000/UDP  cluster-3  active  unknown  ●         100  comms
`,
  )
  t.match((await run('services rebel-base')).out, /^default\/rebel-base\n/, 'a bare name is of the namespace default')
  t.match((await run('services jedi/holocron')).out, /headless[\s\S]*It has no backends in any cluster/)
})

t.test('explain shows each step and what it removed', async t => {
  const { run } = await openStage(t)
  const { code, out } = await run('explain rebel-base --from 10.0.0.7')
  t.equal(code, 0)
  t.equal(
    out,
    `\
default/rebel-base for a client at 10.0.0.7

Left out before the chain runs:
  cluster-3/127.3.0.12:8080/TCP  maintenance

127.96.0.10:80/TCP
  tenancy    5 left
             without cluster-3/127.3.0.11:8080/TCP: tenant red
  affinity   5 left
  health     2 left
             without cluster-1/127.1.0.12:8080/TCP: ejected
             without cluster-1/127.1.0.13:8080/TCP: terminating
             without cluster-2/127.2.0.12:8080/TCP: down
  chosen     by round-robin, from
             cluster-1/127.1.0.11:8080/TCP
             cluster-2/127.2.0.11:8080/TCP
  attempt 2  cluster-2/127.2.0.11:8080/TCP (spread)
  attempt 3  refused by no-backend: every backend was tried (2)
`,
  )
})

t.test('explain says each reason once, and not again what the refusal says', async t => {
  const [frontend] = explanation.frontends
  const rule = 'ingress: no rule of NetworkPolicy shop/deny allows it'
  const key = (n: number) => `cluster-1/127.1.0.${n}:80/TCP`
  const removed = [1, 2, 3, 4, 5].map(n => ({ backend: key(n), why: n === 2 ? 'the address is one of a Pod' : rule }))
  const refusal = { code: 'policy', why: `shop/bot may not reach shop/cart: ${rule} (for ${key(1)})` }
  const refused = {
    ...explanation,
    before: [],
    frontends: [{ ...frontend, steps: [{ step: 'policy', left: 0, removed }], candidates: [], retries: [], refusal }],
  }
  const { run } = await openStage(t, { explain: () => refused as typeof explanation })
  const { out } = await run('explain rebel-base')
  t.equal(out.split(rule).length, 2, out)
  const others = [key(3), key(4), 'and 1 more'].map(line => `\n                   ${line}`).join('')
  t.match(out, `\n           without ${key(1)}${others}\n`)
  t.match(out, `without ${key(2)}: the address is one of a Pod\n`)
})

t.test('explain shows a refusal, and a service without frontends', async t => {
  const [frontend] = explanation.frontends
  const refusal = { code: 'tenancy', why: '10.0.0.7 belongs to no tenant' }
  const refused = {
    ...explanation,
    before: [],
    frontends: [{ ...frontend, steps: [], candidates: [], retries: [], refusal }],
  }
  const { run } = await openStage(t, { explain: () => refused as typeof explanation })
  t.match((await run('explain rebel-base')).out, '  refused  by tenancy: 10.0.0.7 belongs to no tenant\n')
  const none = await openStage(t, { explain: () => ({ ...explanation, frontends: [] }) })
  t.match((await none.run('explain jedi/holocron')).out, 'nothing to choose')
})

t.test('dns shows the answer as dig does, and how it was found', async t => {
  const { run } = await openStage(t)
  const { code, out } = await run('dns rebel-base --from 10.0.0.7')
  t.equal(code, 0)
  t.equal(
    out,
    `\
rebel-base A for a client at 10.0.0.7: NOERROR, authoritative

;; ANSWER
rebel-base.                            5  IN  CNAME  rebel-base.default.svc.cluster.local.
rebel-base.default.svc.cluster.local.  5  IN  A      127.96.0.10

How it was found:
  zone cluster.local
  default/rebel-base has a virtual address and 1 port; it is in cluster-1, cluster-2, cluster-3
`,
  )
})

t.test('no text of a cluster or an upstream moves the cursor or changes the direction of writing', async t => {
  const tricks = [
    '\u202e',
    '\u2066',
    '\u2069',
    '\u200b',
    '\u200f',
    '\ufeff',
    '\u2028',
    '\u00ad',
    '\u061c',
    '\x1b[2J',
    '\x07',
    '\x9b',
  ]
  const spoofed = {
    ...nameExplanation,
    name: `rebel${tricks.join('')}base`,
    answers: tricks.map(trick => `a${trick}b. 5 IN A 127.96.0.10`),
    way: tricks.map(trick => `default/re${trick}bel-base is hidden`),
  }
  const stage = await openStage(t, { dns: async () => spoofed })
  for (const line of ['dns rebel-base', 'dns rebel-base -o json']) {
    const { out } = await stage.run(line)
    t.notMatch(out, /[\p{Cf}\p{Zl}\p{Zp}]|[^\P{Cc}\n]/u, line)
  }
})

t.test('dns exits with 0 for NXDOMAIN and with 1 for a failure', async t => {
  const soa = 'cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5'
  const hidden = 'default/rebel-base is hidden from this client by tenancy: 10.9.0.1 belongs to no tenant'
  const denied = { ...nameExplanation, rcode: 'NXDOMAIN', answers: [], authority: [soa], way: [hidden] }
  const stage = await openStage(t, { dns: async () => denied })
  t.equal(
    (await stage.run('dns rebel-base')).out,
    `\
rebel-base A for a client at 10.0.0.7: NXDOMAIN, authoritative

;; AUTHORITY
cluster.local.  5  IN  SOA  ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5

How it was found:
  default/rebel-base is hidden from this client by tenancy: 10.9.0.1 belongs to no tenant
`,
  )
  t.equal((await stage.run('dns rebel-base')).code, 0)

  const way = ['not in our zones', 'no answer: 10.0.0.53:53: timed out']
  const failed = { ...nameExplanation, rcode: 'SERVFAIL', authoritative: false, answers: [], way }
  const lost = await openStage(t, { dns: async () => failed })
  t.match(await lost.run('dns example.org'), {
    code: 1,
    out: /: SERVFAIL\n\nHow it was found:\n {2}not in our zones\n/,
  })

  const wrong = await openStage(t, {
    dns: async () => ({ ...failed, rcode: 'FORMERR', way: ['NOPE is no record type'] }),
  })
  t.match(await wrong.run('dns rebel-base NOPE'), { code: 2, out: '', err: 'starlane: NOPE is no record type\n' })
})

t.test('-o json prints the answer of the admin server', async t => {
  const { run } = await openStage(t)
  const json = async (line: string) => JSON.parse((await run(`${line} -o json`)).out)
  t.same(await json('status'), status)
  t.same(await json('services'), services)
  t.same(await json('services empire/deathstar'), services[1])
  t.same(await json('explain rebel-base --from 10.0.0.7'), explanation)
  t.same(await json('dns rebel-base srv --from 10.0.0.7'), { ...nameExplanation, type: 'srv' })
  t.same((await json('status --context cluster-3')).uses, ['default/rebel-base', 'empire/deathstar'])
})

t.test('terminals get colours and the same text', async t => {
  const { run } = await openStage(t)
  for (const line of [
    'status',
    'services',
    'services rebel-base',
    'explain rebel-base',
    'dns rebel-base',
    'status --context cluster-3',
    '--help',
  ]) {
    const plain = (await run(line)).out
    const coloured = (await run(line, { isTTY: true })).out
    t.equal(plain, stripVTControlCharacters(plain), `${line} is plain in a pipe`)
    t.not(coloured, plain, `${line} has colours on a terminal`)
    t.equal(stripVTControlCharacters(coloured), plain)
    t.equal((await run(line, { isTTY: true, env: { NO_COLOR: '1' } })).out, plain)
    t.equal((await run(line, { isTTY: true, env: { TERM: 'dumb' } })).out, plain)
  }
})

t.test('control characters in data from a source do not reach the terminal', async t => {
  const message = 'red \x1b[31m, title \x1b]0;owned\x07, back \r\b, csi \x9b2J'
  const { run } = await openStage(t, {
    status: () => ({ ...status, problems: [{ severity: 'warning', code: 'SOURCE_OBJECT', where: 'x', message }] }),
  })
  const { out } = await run('status')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the very characters that must not come through
  t.notMatch(out, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/)
  t.match(out, 'red')
})

t.test('the admin address: from --admin, else the file, else the environment', async t => {
  const { admin } = await openStage(t)
  const nobody = { STARLANE_ADMIN: '127.0.0.1:1' }
  const file = join(t.testdir(), 'starlane.yaml')
  const conf = (listen: string) =>
    writeFileSync(
      file,
      `cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: . } }]\nadmin: { listen: '${listen}' }\n`,
    )
  const code = async (argv: string[]) => (await runLine(argv, { env: nobody })).code
  conf(admin)
  t.equal(await code(['services', '-c', file]), 0)
  t.equal(await code(['services', '--admin', `http://${admin}/`]), 0, 'a URL is an address too')
  t.equal(await code(['services']), 1, 'nobody is where the environment says')
  conf(admin.replace('127.0.0.1', '0.0.0.0'))
  t.equal(await code(['services', '-c', file]), 0, 'everywhere includes here')
  conf('127.0.0.1:0')
  t.equal(await code(['services', '-c', file]), 2, 'no port, no address')
  t.equal(await code(['services', '-c', `${file}.none`]), 1)
  t.equal(await code(['services', '--admin', 'ftp://x']), 2)
})

t.test('when no Starlane answers, the error says so and what to do', async t => {
  const closed = await runLine(['status', '--admin', '127.0.0.1:1'])
  t.equal(closed.code, 1)
  t.match(
    closed.err,
    /^starlane: ADMIN_UNREACHABLE {2}no Starlane answers at 127\.0\.0\.1:1 \(.*ECONNREFUSED.*starlane run.*--admin/,
  )

  t.match((await runLine(['status', '--admin', 'localhost:1'])).err, /localhost:1 \(.*ECONNREFUSED/)

  for (const [body, status] of [
    ['<html>', 200],
    ['{}', 404],
    ['{"error":{"message":"x"}}', 500],
    ['null', 500],
    ['{"components":1}', 200],
    ['"hello"', 200],
  ] as const) {
    const other = createServer((_, response) => response.writeHead(status).end(body)).listen(0, '127.0.0.1')
    t.teardown(() => other.close())
    await new Promise(resolve => other.once('listening', resolve))
    const { port } = other.address() as AddressInfo
    const { code, err } = await runLine(['status', '--admin', `127.0.0.1:${port}`])
    t.equal(code, 1)
    t.match(err, `the server at 127.0.0.1:${port}`)
  }
})

t.test('invalid names, and unknown services', async t => {
  const { run } = await openStage(t)
  for (const line of [
    'services a/b/c',
    'services /b',
    'services a/',
    'explain rebel-base --from here',
    'dns rebel-base --from here',
  ]) {
    t.match(await run(line), { code: 2, out: '', err: /^starlane: .*write/ }, line)
  }
  for (const line of ['services nobody', 'explain shop/nobody']) {
    t.match(await run(line), { code: 1, out: '', err: /^starlane: there is no service \w+\/nobody/ }, line)
  }
  t.match((await run('services deathstar')).err, /no service default\/deathstar; there is empire\/deathstar;/)
  t.match((await run('explain rebel-bace')).err, /no service default\/rebel-bace; did you mean "default\/rebel-base"\?/)
})

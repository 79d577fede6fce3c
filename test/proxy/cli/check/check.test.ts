/** `starlane check`: what it finds wrong in clusters and on this machine, and the remedy of each. */
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Finding } from '../../../../proxy/runtime/checks/finding.ts'
import { checkMachine } from '../../../../proxy/runtime/checks/machine.ts'
import { checkUnderlay } from '../../../../proxy/runtime/checks/underlay.ts'
import type { User } from '../../../support/kube-api/authorize.ts'
import { Authority } from '../../../support/kube-api/certificates.ts'
import { type Entry, writeKubeconfig } from '../../../support/kube-api/kubeconfig.ts'
import { startKubeApi } from '../../../support/kube-api/server.ts'
import { runLine } from '../stage.ts'

const authority = new Authority()
t.teardown(() => authority.close())
const reading = ['services', 'namespaces'].map(resource => ({
  ...{ apiGroups: [''], resources: [resource] },
  verbs: ['list', 'watch'],
}))
const slices = { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] }

t.test('clusters before installing: version, rights, clock, certificate, label', async t => {
  const { line } = await cluster(t, { secret: { name: 'admin' } })
  const good = await line('--context kind-1')
  t.equal(good.code, 0, JSON.stringify(good.of('kind-1')))
  t.match(good.of('kind-1'), {
    version: { state: 'good', found: 'Kubernetes v1.32.4' },
    clock: { state: 'good' },
    rights: { state: 'good' },
    'kube-proxy': { state: 'good', found: 'leaves 0 global Services to Starlane' },
  })
  t.match(good.of('kind-1').certificate, { state: 'warning', found: /valid for [01] days/, remedy: /renew/ })

  const skewed = await line('--context kind-1', Date.now() + 400_000)
  t.match(skewed.code, 1)
  t.match(skewed.of('kind-1').clock, { state: 'error', found: /40\d s behind ours/, remedy: /NTP/ })
  t.match(await line('--context nowhere'), { code: 1 })
  t.match((await line('--context nowhere')).of('nowhere').credentials, {
    state: 'error',
    found: /no context "nowhere"/,
  })
})

t.test('what kube-proxy still serves', async t => {
  const { line, api } = await cluster(t, { secret: { name: 'admin' } })
  const service = (name: string, labels = {}) => ({
    ...{ apiVersion: 'v1', kind: 'Service', spec: { clusterIP: '10.96.0.10' } },
    metadata: { name, namespace: 'default', labels, annotations: { 'service.cilium.io/global': 'true' } },
  })
  api.put(service('bare'))
  api.put(service('ours', { 'service.kubernetes.io/service-proxy-name': 'starlane' }))
  t.match((await line('--context kind-1')).of('kind-1')['kube-proxy'], {
    state: 'warning',
    found: /serves default\/bare, before/,
    remedy: 'kubectl -n default label service bare service.kubernetes.io/service-proxy-name=starlane',
  })
})

t.test('rights that the configuration needs, as the user of its kubeconfig', async t => {
  const { file, line } = await cluster(t, { secret: { name: 'reader', rules: [...reading, slices] } })
  const few = await line(`-c ${file}`)
  const rights = few.all.filter(({ check }) => check === 'rights')
  t.match(
    rights.map(({ found, state }) => `${state} ${found}`),
    [
      /^warning may not list, watch nodes:/,
      /^warning .* ciliumnodes/,
      /^warning .* ipamblocks/,
      /^warning may not list, watch serviceexports/,
      /^warning .* serviceimports/,
    ],
    'what is optional',
  )
  const none = await cluster(t, { secret: { name: 'reader', rules: reading } })
  const found = await none.line(`-c ${none.file}`)
  t.equal(found.code, 1)
  t.match(
    found.all.find(({ check, state }) => check === 'rights' && state === 'error'),
    {
      found: /may not list, watch endpointslices\.discovery\.k8s\.io/,
      remedy:
        'add the rule {apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]} (deploy/base)',
    },
  )
})

t.test('ports: free, taken and not of this machine', async t => {
  const { file, line } = await cluster(t, { secret: { name: 'admin' } }, 'admin: { listen: "192.0.2.1:9911" }')
  const holder = createServer().listen(15_353, '127.0.0.1')
  t.teardown(() => holder.close())
  const { all, code } = await line(`-c ${file}`)
  t.equal(code, 1)
  const ports = all.filter(({ check }) => check === 'ports')
  t.match(ports, [
    { state: 'good', found: '127.0.0.1:15353/UDP (dns.listen) is free' },
    { state: 'error', found: /15353\/TCP .*EADDRINUSE/, remedy: /ss -lntp 'sport = :15353'/ },
    { state: 'error', found: /192\.0\.2\.1:9911\/TCP .*EADDRNOTAVAIL/, remedy: /correct admin\.listen/ },
  ])
})

t.test('the text: marks, remedies, a verdict', async t => {
  const { kubeconfig } = await cluster(t, { secret: { name: 'reader', rules: reading } })
  const said = await runLine(['check', '--context', 'kind-1', '--kubeconfig', kubeconfig, '--quiet'], {
    wall: Date.now,
  })
  t.equal(said.code, 1)
  t.match(said.out, /kind-1\n(.*\n)*? {2}✗ rights +may not get, create, patch namespaces: .*\n(.*\n)*? +→ add the rule/)
  t.match(said.out, /\d+ errors(, \d+ warnings?)?(, \d+ skipped)?, \d+ checks? passed\n$/)
  t.match(await runLine(['check', '-c', '/nowhere/starlane.yaml']), {
    code: 1,
    out: /✗ configuration .*does not exist/,
  })
})

t.test('connection tracking and capabilities, by what /proc says', async t => {
  const { config } = await load(`cluster: a
clusters: [{ name: a, id: 1, source: { manifests: . } }]
proxy: { anyip: true, limits: { connections: 100, udpSessions: 100 } }
`)
  const machine = (files: Record<string, string>) =>
    checkMachine(config, { read: path => files[path.replace('/proc/sys/net/netfilter/', '')], platform: 'linux' })
  const full = byCheck(await machine({ nf_conntrack_count: '900', nf_conntrack_max: '1000' }))
  t.match(full.conntrack, { state: 'error', remedy: 'sysctl -w net.netfilter.nf_conntrack_max=2000' })
  t.match(full.capabilities, { state: 'error', found: /proxy\.anyip needs NET_ADMIN/ })
  const status = 'CapEff:\t0000000000001000\n'
  const good = byCheck(
    await machine({ nf_conntrack_count: '1', nf_conntrack_max: '9000', '/proc/self/status': status }),
  )
  t.match(good.conntrack, { state: 'good' })
  t.match(good.capabilities, { state: 'good', found: 'NET_ADMIN, for proxy.anyip' })
  t.match(byCheck(await machine({ nf_conntrack_count: '1', nf_conntrack_max: '200' })).conntrack, { state: 'warning' })
})

t.test('the underlay: the capability, the programs and the kernel that its mode needs', async t => {
  const { config } = await load('cluster: a\nclusters: [{ name: a, id: 1, source: { manifests: . } }]')
  const { underlay } = config
  const ran: string[] = []
  const machine = (refuses: RegExp, says: string) => async (program: string, args: readonly string[]) => {
    const line = [program, ...args].join(' ')
    ran.push(line)
    if (says === 'ENOENT' && refuses.test(line)) throw Object.assign(new Error(line), { code: 'ENOENT' })
    return { stdout: '', stderr: says, failed: refuses.test(line) }
  }
  const read = () => 'CapEff:\t0000000000001000'
  const found = async (mode: typeof underlay.mode, refuses: RegExp, says = 'Error: Unknown device type.') =>
    (await checkUnderlay({ underlay: { ...underlay, mode } }, { read, platform: 'linux', run: machine(refuses, says) }))
      .filter(({ state }) => state !== 'good')
      .map(({ state, found, remedy }) => [state, found, remedy])
  t.same(await checkUnderlay({ underlay }), [], 'without an underlay nothing is looked at')
  t.same(await found('geneve', /nothing/), [])
  t.match(ran.at(-1), /^unshare .*--net ip link add probe type geneve external$/, 'in a namespace of its own')
  t.same(await found('geneve', /geneve/), [
    ['error', 'the kernel has no geneve', 'modprobe geneve, where it is a module, or use underlay.mode: vxlan'],
  ])
  t.match(await found('vxlan', /^unshare/, 'unshare: Operation not permitted'), [
    ['skipped', /vxlan could not be tried/],
  ])
  t.same(await found('wireguard', /type wireguard|wireguard-go/), [], 'boringtun carries it')
  t.match(await found('wireguard', /type wireguard|wireguard-go|boringtun/), [['error', /no program for it is here/]])
  t.match(await found('direct', /^bridge/, 'ENOENT'), [['error', /bridge, which does not run: it is not installed/]])
  const lacks = await checkUnderlay(
    { underlay: { ...underlay, mode: 'direct' } },
    { read: () => '', platform: 'linux' },
  )
  t.match(lacks[0], { state: 'error', found: /NET_ADMIN, which this process lacks/ })
})

async function load(text: string) {
  const { parseConfig } = await import('../../../../proxy/config/load.ts')
  return parseConfig(text, 'starlane.yaml', {})
}

/** A cluster with these users by token, and a configuration that reads it as the one with the token `secret`. */
async function cluster(t: Test, users: Record<string, User>, rest = '') {
  const api = await startKubeApi({ users, tls: authority.issue('kube-apiserver', ['IP:127.0.0.1']) })
  t.teardown(() => api.stop())
  const folder = t.testdir({
    'starlane.yaml': `cluster: a
clusters: [{ name: a, id: 1, source: { kubernetes: { kubeconfig: ./kubeconfig } } }]
proxy: { vips: { cidr: 127.96.0.0/16 } }
dns: { listen: "127.0.0.1:15353" }
${rest}
`,
  })
  const kubeconfig = join(folder, 'kubeconfig')
  const entry: Entry = { name: 'kind-1', server: api.url, ca: authority.cert, user: { token: 'secret' } }
  writeKubeconfig(kubeconfig, [entry])
  const line = async (words: string, wall = Date.now()) => {
    const argv = ['check', ...words.split(' '), '--kubeconfig', kubeconfig, '-o', 'json', '--admin', '127.0.0.1:1']
    const { code, out, err } = await runLine(argv, { wall: () => wall })
    if (out === '') throw new Error(err)
    const all: Finding[] = JSON.parse(out).findings
    return { code, all, of: (where: string) => byCheck(all.filter(finding => finding.where === where)) }
  }
  return { api, file: join(folder, 'starlane.yaml'), kubeconfig, line }
}

function byCheck(findings: readonly Finding[]): Record<string, Finding> {
  return Object.fromEntries(findings.map(finding => [finding.check, finding]))
}

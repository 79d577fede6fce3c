/** Loading a configuration file: values, errors, warnings, YAML. */
import { chmodSync } from 'node:fs'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { ConfigError } from '../../../proxy/config/error.ts'
import { loadConfig, parseConfig } from '../../../proxy/config/load.ts'
import { defaultLimits } from '../../../proxy/model/cluster.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { pumpsOf } from '../../../proxy/runtime/options.ts'

const clusters = `cluster: one
clusters:
  - name: one
    id: 1
    source: { manifests: ./one }
  - name: two
    id: 2
    source: { manifests: ./two }
`

function config(text: string, env: Record<string, string> = {}) {
  return parseConfig(text, 'conf/x.yaml', { HOME: '/home/luke', ...env }).config
}

/** The lines of the error, without the file's name. */
function faults(text: string, env: Record<string, string> = {}): string[] {
  try {
    config(text, env)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.message.split('\n').map(line => line.replace('  conf/x.yaml:', ' '))
  }
}

/** What is said of two sound clusters followed by `text`, which begins in line 9. */
const faultsOf = (text: string, env?: Record<string, string>) => faults(clusters + text, env)

function warnings(text: string): string[] {
  return parseConfig(text, 'conf/x.yaml', {}).warnings.map(({ place, path, message }) => `${place} ${path}: ${message}`)
}

/** Of a cluster that is reached without gateways. */
const direct = { route: 'direct', gateways: [], trustDomain: undefined, identities: [], hbone: 'single', workloads: [] }

t.test('the defaults are those of the design', async t => {
  t.same(config(clusters), {
    version: 1,
    cluster: 'one',
    clusters: [
      {
        name: 'one',
        id: 1,
        source: { manifests: resolve('conf/one') },
        ...direct,
        allow: { loopback: undefined, cidrs: undefined, namespaces: undefined, services: undefined },
        tenant: undefined,
        globalNamespaces: 'all',
        limits: defaultLimits,
      },
      {
        name: 'two',
        id: 2,
        source: { manifests: resolve('conf/two') },
        ...direct,
        allow: { loopback: undefined, cidrs: undefined, namespaces: undefined, services: undefined },
        tenant: undefined,
        globalNamespaces: 'all',
        limits: defaultLimits,
      },
    ],
    maxConnectedClusters: 255,
    stale: { after: 600_000, drop: 86_400_000 },
    dns: {
      listen: { address: '127.0.0.1', port: 5353 },
      domain: 'cluster.local',
      clusterset: 'clusterset.local',
      ttl: 5000,
      pods: 'disabled',
      networks: [],
      hideEmpty: false,
      search: true,
      autopath: false,
      specialUse: [
        'localhost',
        'invalid',
        'onion',
        'local',
        'alt',
        'home.arpa',
        'service.arpa',
        'resolver.arpa',
        'reverse',
      ],
      upstream: ['/etc/resolv.conf'],
      routes: {},
      allow: undefined,
      trusted: [],
      forward: {
        policy: 'sequential',
        timeout: 1500,
        budget: 4500,
        concurrent: 1000,
        perClient: undefined,
        randomCase: 'auto',
      },
      cache: { size: 2 ** 24, maxTtl: 3_600_000, maxNegativeTtl: 300_000, serveStale: 3_600_000, prefetch: true },
      rate: { perSecond: undefined, burst: undefined, slip: 2 },
      queryLog: undefined,
    },
    proxy: {
      engine: 'auto',
      threads: 'auto',
      vips: 'clusterIP',
      anyip: false,
      nftables: 'none',
      offload: 'none',
      ebpf: {
        listen: ['127.0.0.1', '::1'],
        clients: [],
        cgroup: undefined,
        direct: false,
        pin: '/sys/fs/bpf/starlane',
      },
      services: 'global',
      serviceProxyName: 'starlane',
      balancer: 'round-robin',
      dial: { timeout: 1000, attempts: 3, budget: 5000 },
      idle: { tcp: 3_600_000, halfClosed: 3_600_000, udp: 60_000 },
      drain: 30_000,
      announce: 0,
      unlisted: 86_400_000,
      limits: { connections: 10_000, udpSessions: 10_000, perFrontend: 100 },
    },
    health: {
      active: {
        cutOnTimeout: true,
        interval: 2000,
        relax: 4,
        traffic: true,
        timeout: 1000,
        rise: 2,
        fall: 3,
        type: 'tcp',
        path: '/',
        status: { min: 200, max: 299 },
      },
      passive: { consecutive: 5, firstByte: 0, eject: 30_000, maxEject: 300_000, maxPercent: 50 },
    },
    plugins: ['tenancy', 'circuit-breaker', 'affinity', 'session-affinity'].map(use => ({
      use,
      as: undefined,
      options: undefined,
    })),
    publish: undefined,
    tunnel: { certificates: undefined, engine: 'auto' },
    gateway: undefined,
    underlay: {
      mode: 'none',
      device: 'starlane-vx',
      vni: 7171,
      port: undefined,
      mtu: undefined,
      within: false,
      masquerade: false,
    },
    writeBack: {
      endpointSlices: false,
      serviceImports: false,
      derivedServices: false,
      events: false,
      namespace: 'starlane',
    },
    admin: { listen: { address: '127.0.0.1', port: 9911 }, exemplars: false },
    recorder: { size: 16_384, rate: 10_000, dns: true, file: undefined },
    log: { level: 'info', format: 'auto' },
  })
  t.same(
    config(`${clusters}proxy:\ndns:\nhealth: { active: }\n`),
    config(clusters),
    'a section left empty has its defaults',
  )
})

t.test('every kind of source, and no mixture of them', async t => {
  const source = (text: string) => config(clusters.replace('{ manifests: ./two }', text)).clusters[1]?.source
  t.same(source('{ kubernetes: }'), { kubernetes: { kubeconfig: undefined, context: undefined, renew: 'none' } })
  t.same(source('{ kubernetes: { context: kind-2 } }'), {
    kubernetes: { kubeconfig: undefined, context: 'kind-2', renew: 'none' },
  })
  t.match(source('{ kubernetes: { kubeconfig: ~/.kube/other } }'), {
    kubernetes: { kubeconfig: '/home/luke/.kube/other' },
  })
  t.same(source('{ kubernetes: { inCluster: true } }'), { kubernetes: { inCluster: true } })
  t.same(source('{ etcd: { config: /var/lib/x } }'), { etcd: { config: '/var/lib/x', prefer: 'services' } })
  t.same(source('{ etcd: { endpoints: "https://two.mesh:2379", ca: ca.pem, cert: ./c.pem, key: ~/k.pem } }'), {
    etcd: {
      endpoints: ['https://two.mesh:2379'],
      ca: resolve('conf/ca.pem'),
      cert: resolve('conf/c.pem'),
      key: '/home/luke/k.pem',
      prefer: 'services',
    },
  })
  t.match(source('{ etcd: { prefer: slices, endpoints: https://two:2379 } }'), { etcd: { prefer: 'slices' } })
  t.match(source('{ etcd: { prefer: slices, config: /x } }'), { etcd: { prefer: 'slices', config: '/x' } })

  const wrong = (text: string) => faults(clusters.replace('{ manifests: ./two }', text))
  const at = 'CONF_FIELD 8  clusters[1].source'
  t.same(wrong(''), [`${at}: is empty; give one of manifests, kubernetes, etcd`])
  t.same(wrong('{ etcd: { prefer: slices } }'), [`${at}.etcd.config: is missing; give a path`])
  t.same(wrong('./two'), [`${at}: "./two" is not a mapping; give one of manifests, kubernetes, etcd`])
  t.same(wrong('{ manifest: ./two }'), [
    `${at}.manifest: is not a known key; did you mean "manifests"? (known keys: manifests, kubernetes, etcd)`,
  ])
  t.same(wrong('{ manifests: ./two, etcd: { config: x } }'), [
    `${at}.etcd: cannot be combined with "manifests"; remove one of them`,
  ])
  t.same(wrong('{ kubernetes: { kubeconfig: x, inCluster: true } }'), [
    `${at}.kubernetes.inCluster: cannot be combined with "kubeconfig"; remove one of them`,
  ])
  t.same(wrong('{ kubernetes: { inCluster: false } }'), [
    `${at}.kubernetes.inCluster: false is not valid here; write true, or leave the key out`,
  ])
  t.same(wrong('{ etcd: }'), [`${at}.etcd: is empty; give one of config, endpoints`])
  t.same(wrong('{ etcd: { endpoints: [] } }'), [`${at}.etcd.endpoints: is empty; give a server`])
  for (const url of ['two:2379', 'grpc://two', 'https://', 'https://me:pw@two', 'https://two/v3', 'https://two?x']) {
    t.match(wrong(`{ etcd: { endpoints: ["${url}"] } }`), [/is not a server URL; write https:\/\/HOST:2379/], url)
  }
  t.same(wrong('{ etcd: { endpoints: [http://two:2379], cert: c } }'), [
    `${at}.etcd: has only one of \`cert\` and \`key\`; give both`,
  ])
  t.same(wrong('{ etcd: { cert: c, key: k } }'), [`${at}.etcd.endpoints: is missing; give a list of URL`])
})

t.test('values that have more than one form', async t => {
  t.match(config(`${clusters}proxy: { vips: { cidr: 127.96.0.0/16 } }`).proxy.vips, { cidr: { text: '127.96.0.0/16' } })
  t.same(faultsOf('proxy: { vips: { cdr: 127.96.0.0/16 } }'), [
    'CONF_FIELD 9  proxy.vips.cdr: is not a known key; did you mean "cidr"? (known keys: cidr, address, ports)',
  ])
  t.same(faultsOf('proxy: { vips: podIP }'), [
    'CONF_FIELD 9  proxy.vips: "podIP" is neither clusterIP nor a mapping with cidr, address, ports',
  ])

  t.same(config(`${clusters}dns: { upstream: [10.0.0.10, "[fd00::A]:54", ./resolv.conf, 1.1.1.1:853] }`).dns.upstream, [
    '10.0.0.10:53',
    '[fd00::a]:54',
    resolve('conf/resolv.conf'),
    '1.1.1.1:853',
  ])
  t.same(config(`${clusters}dns: { upstream: [] }`).dns.upstream, [])
  for (const wrong of ['resolv.conf', 'dns.google', '"1.1.1.1:0"', '53']) {
    t.match(faultsOf(`dns: { upstream: ${wrong} }`), [/dns\.upstream\[0\]: .* is not a resolver; write 10\.0\.0\.10/])
  }

  t.equal(config(`${clusters}dns: { domain: Mesh.Example. }`).dns.domain, 'mesh.example')
  for (const wrong of ['a..b', '-a', `${'a'.repeat(64)}.b`, '""', 'a/b']) {
    t.match(faultsOf(`dns: { domain: ${wrong} }`), [/dns\.domain: .* is not a domain/])
  }
  t.same(faultsOf('dns: { ttl: 1500ms }'), [
    'CONF_FIELD 9  dns.ttl: 1s500ms is not a whole number of seconds; a TTL has no fractions',
  ])

  t.same(config(`${clusters}dns: { routes: { Corp.Example.: 10.0.0.53, a.b: ["::1", ./r.conf] } }`).dns.routes, {
    'corp.example': ['10.0.0.53:53'],
    'a.b': ['[::1]:53', resolve('conf/r.conf')],
  })
  t.same(faultsOf('dns:\n  routes:\n    a.b: 1.1.1.1\n    A.B: 1.1.1.2\n    c: []\n    d: dns.google'), [
    'CONF_FIELD 13  dns.routes.c: is empty; give a resolver, or leave the domain out',
    'CONF_FIELD 14  dns.routes.d[0]: "dns.google" is not a resolver; write 10.0.0.10, 10.0.0.10:53, [fd00::10]:53 or /etc/resolv.conf',
  ])
  t.same(faultsOf('dns:\n  routes:\n    a.b: 1.1.1.1\n    A.B: 1.1.1.2'), [
    'CONF_FIELD 12  dns.routes["A.B"]: a.b is given twice; remove one of them',
  ])
  t.match(faultsOf('dns: { routes: { "a b": 1.1.1.1 } }'), [
    /^CONF_FIELD 9 {2}dns\.routes\["a b"\]: .* is not a domain/,
  ])
  t.match(faultsOf('dns: { routes: [1.1.1.1] }'), [/dns\.routes: .* is not a mapping/])

  t.equal(config(`${clusters}dns: { cache: { size: 1GiB } }`).dns.cache.size, 2 ** 30)
  for (const wrong of ['16', '16MB', '1.5GiB', '-1MiB', '']) {
    t.match(
      faultsOf(`dns: { cache: { size: "${wrong}" } }`),
      [/cache\.size: .* is not a size; write 64KiB, 16MiB/],
      wrong,
    )
  }
  for (const wrong of ['63KiB', '5GiB', '999999999GiB']) {
    t.match(faultsOf(`dns: { cache: { size: ${wrong} } }`), [/is out of range; use 64KiB to 4GiB/])
  }
  t.match(faultsOf('dns: { cache: { maxTtl: 100ms } }'), [/cache\.maxTtl: 100ms is not a whole number of seconds/])

  const log = (text: string) => config(`${clusters}dns: { queryLog: ${text} }`).dns.queryLog
  t.same(log('{}'), { clients: undefined, names: undefined }, 'all queries')
  t.same(log(''), undefined)
  t.match(log('{ clients: 10.0.0.7, names: Shop.Example. }'), {
    clients: [{ text: '10.0.0.7/32' }],
    names: ['shop.example'],
  })
  t.match(faultsOf('dns: { queryLog: { names: [] } }'), [/queryLog\.names: is empty and would log nothing/])

  t.same(config(`${clusters}health: { active: { type: http, status: 204 } }`).health.active.status, {
    min: 204,
    max: 204,
  })
  t.same(config(`${clusters}health: { active: { type: http, status: 200-399 } }`).health.active.status, {
    min: 200,
    max: 399,
  })
  for (const wrong of ['299-200', '99', '200-', 'ok', '[200]']) {
    t.match(faultsOf(`health: { active: { status: ${wrong} } }`), [
      /is not a range of HTTP status codes; write 200-299 or 204/,
    ])
  }
  t.match(faultsOf('health: { active: { type: http, path: healthz } }'), [
    /"healthz" is not a URL path; write \/healthz/,
  ])
})

t.test('names of plugins, and options as written', async t => {
  const { config, placeOf } = parseConfig(
    `${clusters}plugins:
  - use: affinity
  - use: ./plugins/mine.js
    as: mine-eu
    options:
      share: 5%
      deep: [{ list: [1, true, null] }]
  - use: npm:@acme/quota
  - use: ~/mine.js
`,
    'conf/x.yaml',
    { HOME: '/home/luke' },
  )
  t.same(config.plugins, [
    { use: 'affinity', as: undefined, options: undefined },
    {
      use: './plugins/mine.js',
      as: 'mine-eu',
      options: { share: '5%', deep: [{ list: [1, true, null] }] },
    },
    { use: 'npm:@acme/quota', as: undefined, options: undefined },
    { use: '/home/luke/mine.js', as: undefined, options: undefined },
  ])
  t.equal(placeOf(['plugins', 1, 'options', 'share']), 'conf/x.yaml:14')
  t.equal(placeOf(['plugins', 1, 'options', 'deep', 0, 'list', 1]), 'conf/x.yaml:15')
  t.equal(
    placeOf(['plugins', 1, 'options', 'absent', 'deeper']),
    'conf/x.yaml:13',
    'what is not there is where it belongs',
  )
  t.equal(placeOf(['plugins', 0, 'options', 'absent']), 'conf/x.yaml:10')
  t.equal(placeOf(['health', 'active']), 'conf/x.yaml:1')

  for (const wrong of ['mine.js', 'plugins/mine.js', '"npm:"', 'Affinity', '""', '5']) {
    t.match(faultsOf(`plugins:\n  - use: ${wrong}`), [
      /plugins\[0\]\.use: .* is not a plugin; write the name of a built-in one/,
    ])
  }
  t.match(faultsOf('plugins: [{ use: affinity, as: a b }]'), [/plugins\[0\]\.as: "a b" is not a valid name/])
  t.same(faultsOf('plugins:\n  - use: affinity\n  - use: affinity'), [
    'CONF_FIELD 11  plugins[1].use: "affinity" is already the name of plugins[0]; give this one another name with `as`',
  ])
  t.same(faultsOf('plugins:\n  - use: affinity\n  - use: affinity\n    as: second'), [])
  t.same(faultsOf('plugins:'), ['CONF_FIELD 9  plugins: is empty; write [] for an empty list'])
})

t.test('publishing to etcd', async t => {
  const publish = (text: string) => `${clusters}\npublish: ${text}`
  t.same(config(publish('{ endpoints: https://etcd:2379, ca: ca.crt }')).publish, {
    endpoints: ['https://etcd:2379'],
    ca: resolve('conf/ca.crt'),
    cert: undefined,
    key: undefined,
    slices: false,
    lease: 900_000,
    rate: 20,
    tenants: {},
    cache: false,
  })
  t.match(
    faults(publish('{ endpoints: https://e:1, tenants: { Blue: x, two: x/y, much-too-long-a-name-for-it-all: [] } }')),
    [/tenants\.Blue.*"x" is not a service pattern; write NAMESPACE\/NAME/],
  )
  t.match(faults(publish('{ endpoints: https://e:1, tenants: { much-too-long-a-name-for-it-all: [] } }')), [
    /readers see "one--much-too-long-a-name-for-it-all", which is not a valid cluster name/,
  ])
  t.match(faults(publish('{ lease: 1s }')), [/endpoints: is missing/, /too short/])
  t.match(faults(publish('{ endpoints: [], cert: a.crt }')), [/publish\.endpoints: is empty; give a server/])
})

t.test('write-back needs an API server as the source', async t => {
  t.match(faults(`${clusters}\nwriteBack: { events: true }`), [
    /writeBack: cluster one is not read from a Kubernetes API/,
  ])
  const kubernetes = clusters.replace('{ manifests: ./one }', '{ kubernetes: }')
  t.ok(config(`${kubernetes}\nwriteBack: { events: true }`))
  t.match(faults(`${kubernetes}\nwriteBack: { derivedServices: true }`), [
    /writeBack.derivedServices: needs ServiceImports, .* set serviceImports: true/,
  ])
  t.ok(config(`${kubernetes}\nwriteBack: { derivedServices: true, serviceImports: true }`))
})

t.test('every problem is listed, in the order of the file', async t => {
  t.same(
    faults(`cluster: onr
clusters:
  - name: One
    id: 1
    source: { manifests: ./one }
  - name: two
    id: 300
  - name: two
    id: 1
    source: { manifests: ./two }
prxy: {}
proxy:
  drain: 30
  dial: { timeout: 10s }
  limits:
    connections: 10k
dns: { listen: "localhost:53" }
`),
    [
      'CONF_CLUSTER 1  cluster: "onr" is not in the list of clusters (two)',
      'CONF_FIELD 3  clusters[0].name: "One" is not a valid cluster name; use 1 to 32 of a-z, 0-9 and -, without - at either end',
      'CONF_FIELD 6  clusters[1].source: is missing; give a mapping',
      'CONF_CLUSTER 7  clusters[1].id: 300 is more than maxConnectedClusters (255); choose another, or set 511 in every cluster',
      'CONF_CLUSTER 8  clusters[2].name: "two" is already the name of clusters[1]',
      'CONF_CLUSTER 9  clusters[2].id: 1 is already the id of clusters[0]',
      'CONF_FIELD 11  prxy: is not a known key; did you mean "proxy"? (known keys: version, cluster, clusters, maxConnectedClusters, clustermesh, location, stale, state, dns, proxy, health, plugins, publish, tunnel, gateway, underlay, writeBack, admin, recorder, log)',
      'CONF_FIELD 13  proxy.drain: 30 has no unit; write 30s or 30ms',
      'CONF_FIELD 14  proxy.dial: timeout (10s) is longer than budget (5s), the time for all attempts together',
      'CONF_FIELD 16  proxy.limits.connections: "10k" is not a whole number from 1 to 1000000',
      'CONF_FIELD 17  dns.listen: "localhost:53" is not an address and port; write 127.0.0.1:9911 or [::1]:9911',
    ],
  )
  t.same(faults('log: { level: info }'), [
    'CONF_FIELD 1  cluster: is missing; give a cluster name',
    'CONF_FIELD 1  clusters: is missing; give a list of mappings',
  ])
  const many = faultsOf(Array.from({ length: 300 }, (_, i) => `wrong${i}: 1`).join('\n'))
  t.equal(many.length, 101)
  t.match(many.at(-1), /has 200 more faults$/)
})

t.test('checks across sections', async t => {
  t.same(faults(clusters.replace('cluster: one', 'cluster: three')), [
    'CONF_CLUSTER 1  cluster: "three" is not in the list of clusters (one, two)',
  ])
  t.same(faults(clusters.replaceAll('one', 'default')), [
    'CONF_FIELD 1  cluster: "default" is what Cilium calls a cluster outside of any mesh; use another name',
    'CONF_FIELD 3  clusters[0].name: "default" is what Cilium calls a cluster outside of any mesh; use another name',
  ])
  t.same(faults('cluster: one\nclusters: []'), ['CONF_CLUSTER 2  clusters: is empty; list at least the local cluster'])
  t.same(faults('cluster: two\nclusters: { name: one, id: 1, source: { manifests: x } }'), [
    'CONF_CLUSTER 1  cluster: "two" is not in the list of clusters (one)',
  ])
  t.same(faultsOf('dns: { clusterset: cluster.local }'), [
    'CONF_FIELD 9  dns.clusterset: cluster.local is already dns.domain; the clusterset needs another domain',
  ])
  t.same(faultsOf('dns: { forward: { timeout: 5s } }'), [
    'CONF_FIELD 9  dns.forward: timeout (5s) is longer than budget (4s500ms), the time for all attempts together',
  ])
  t.same(faultsOf('health: { passive: { eject: 10m } }'), [
    'CONF_FIELD 9  health.passive: eject (10m) is longer than maxEject (5m)',
  ])

  const taken = /admin\.listen: .* is used by dns\.listen; give one of them another port/
  t.match(faultsOf('admin: { listen: 127.0.0.1:5353 }'), [taken])
  t.match(faultsOf('admin: { listen: 127.0.0.1:53 }\ndns: { listen: "0.0.0.0:53" }'), [taken])
  t.match(faultsOf('admin: { listen: "[::]:53" }\ndns: { listen: 127.0.0.1:53 }'), [taken])
  t.same(faultsOf('admin: { listen: 127.0.0.2:53 }\ndns: { listen: 127.0.0.1:53 }'), [])
  t.same(faultsOf('admin: { listen: "[::1]:53" }\ndns: { listen: 0.0.0.0:53 }'), [])
  t.same(faultsOf('admin: { listen: 127.0.0.1:0 }\ndns: { listen: 127.0.0.1:0 }'), [], 'the kernel chooses two')

  const circle = /dns\.upstream\[1\]: is the address Starlane itself listens on; queries would loop/
  t.match(faultsOf('dns: { listen: 127.0.0.1:53, upstream: [9.9.9.9, 127.0.0.1] }'), [circle])
  t.match(faultsOf('dns: { listen: 0.0.0.0:53, upstream: [9.9.9.9, 127.0.0.1] }'), [circle])
  t.same(faultsOf('dns: { listen: 0.0.0.0:53, upstream: [10.0.0.10] }'), [])
  t.match(faultsOf('dns:\n  listen: 127.0.0.1:53\n  routes:\n    Corp.Example: 127.0.0.1'), [
    /^CONF_FIELD \d+ {2}dns\.routes\["corp\.example"\]\[0\]: is the address Starlane itself listens on/,
  ])
})

t.test('a probable mistake is a warning', async t => {
  t.same(warnings(clusters), [])
  t.match(warnings(`${clusters}admin: { listen: 0.0.0.0:9911 }`), [
    /^conf\/x\.yaml:9 admin\.listen: 0\.0\.0\.0 can be reached from other machines, and the admin API has no authentication/,
  ])
  t.same(warnings(`${clusters}admin: { listen: "[::1]:9911" }`), [])

  t.match(warnings(`${clusters}dns: { listen: "[::]:53" }`), [
    /^conf\/x\.yaml:9 dns\.listen: \[::\]:53 can be reached from other machines.*list the clients in dns\.allow/,
  ])
  t.same(warnings(`${clusters}dns: { listen: 0.0.0.0:53, allow: [10.0.0.0/8, "fc00::/7", 203.0.113.0/24] }`), [])
  t.match(warnings(`${clusters}dns: { listen: 10.0.0.5:53, allow: [0.0.0.0/0, "::/0", 64.0.0.0/2] }`), [
    /dns\.allow\[0\]: 0\.0\.0\.0\/0 makes this an open resolver/,
    /dns\.allow\[1\]: ::\/0 makes/,
    /dns\.allow\[2\]: 64\.0\.0\.0\/2 makes/,
  ])
  t.match(warnings(`${clusters}dns: { listen: 10.0.0.5:53, allow: [10.0.0.0/8], rate: { perSecond: 0 } }`), [
    /dns\.rate\.perSecond: sets no limit/,
  ])

  const tenant = clusters.replace('id: 2', 'id: 2\n    tenant: blue')
  t.same(warnings(tenant), [], 'the tenancy plugin is there unless the list leaves it out')
  t.match(warnings(`${tenant}plugins: [{ use: affinity }]`), [
    /^conf\/x\.yaml:8 clusters\[1\]\.tenant: has no effect without `use: tenancy`/,
  ])

  t.same(warnings(`${clusters}proxy: { vips: { cidr: 127.96.0.0/16 } }`), [])
  t.match(warnings(`${clusters}proxy: { vips: { cidr: 10.96.0.0/16 } }`), [
    /proxy\.vips\.cidr: .*only 127\.0\.0\.0\/8 is local/,
  ])
  t.match(warnings(`${clusters}proxy: { vips: { cidr: "fd96::/64" } }`), [
    /proxy\.vips\.cidr: .*IPv6 has only ::1 as a loopback address; set anyip: true/,
  ])
  t.same(warnings(`${clusters}proxy: { anyip: true, vips: { cidr: "fd96::/64" } }`), [])
  t.match(warnings(`${clusters}proxy: { vips: { cidr: 127.0.0.0/16 } }`), [
    /contains 127\.0\.0\.1, which Starlane itself listens on/,
  ])

  t.match(warnings(`${clusters}dns: { routes: { a.cluster.local: 1.1.1.1, clusterset.local: 1.1.1.1 } }`), [
    /dns\.routes\["a\.cluster\.local"\]: is part of cluster\.local, which Starlane answers itself; .* never asked/,
    /dns\.routes\["clusterset\.local"\]: .* part of clusterset\.local/,
  ])
  t.same(warnings(`${clusters}dns: { routes: { local: 1.1.1.1, mycluster.local: 1.1.1.1 } }`), [])
  t.match(warnings(`${clusters}dns: { autopath: true, upstream: [] }`), [/dns\.autopath: has no effect/])
  t.same(warnings(`${clusters}dns: { autopath: true, upstream: [], routes: { example: 1.1.1.1 } }`), [])
  t.match(warnings(`${clusters}dns: { rate: { burst: 5 } }`), [/dns\.rate\.burst: .* set `perSecond`/])
  t.same(warnings(`${clusters}dns: { rate: { perSecond: 1, burst: 5 } }`), [])

  t.match(warnings(`${clusters}health: { active: { path: /healthz } }`), [
    /health\.active\.path: has no effect with type: tcp/,
  ])
  t.same(warnings(`${clusters}health: { active: { type: http, path: /healthz } }`), [])
  t.match(warnings(`${clusters}health: { active: { timeout: 5s } }`), [
    /health\.active\.timeout: is longer than `interval`/,
  ])
})

t.test('proxy.threads is auto or a number', async t => {
  for (const [given, read] of [
    ['auto', 'auto'],
    ['1', 1],
    ['"64"', 64],
  ] as const)
    t.equal(config(`${clusters}\nproxy: { threads: ${given} }`).proxy.threads, read)
  for (const given of ['0', '65', '1.5', 'many'])
    t.match(faultsOf(`proxy: { threads: ${given} }`), [
      /proxy\.threads: .* is neither auto nor a whole number from 1 to 64/,
    ])
  const { proxy } = config(clusters)
  const auto = (cores: number) => pumpsOf({ proxy }, cores)
  t.same([1, 2, 3, 4, 8, 15, 16, 64].map(auto), [1, 1, 1, 2, 4, 7, 8, 8])
  t.equal(pumpsOf({ proxy: { threads: 3 } }, 64), 3)
})

t.test('environment variables', async t => {
  const text = `${clusters.replace('id: 2', `id: "\${ID}"`).replace('./two', `"\${DIR}/\${NAME:-two}"`)}
dns: { listen: "\${DNS:-127.0.0.1:53}", search: "\${SEARCH}" }
proxy:
  drain: \${DRAIN}
  engine: \${ENGINE:-streams}
plugins: [{ use: mine, options: { price: "$\${FIVE} $5", quoted: "\${EMPTY}", bare: [] } }]
`
  const env = { ID: '7', DIR: '/data', SEARCH: 'false', DRAIN: '0', ENGINE: '', EMPTY: '' }
  const { clusters: listed, dns, proxy, plugins } = config(text, env)
  t.match(listed[1], { id: 7, source: { manifests: '/data/two' } })
  t.match(dns, { listen: { address: '127.0.0.1', port: 53 }, search: false })
  t.match(proxy, { drain: 0, engine: 'streams' }, 'a default also stands in for an empty variable')
  t.same(plugins[0]?.options, { price: `\${FIVE} $5`, quoted: '', bare: [] })

  const tenant = clusters.replace('id: 2', `id: 2\n    tenant: \${TENANT:-}`)
  t.equal(config(tenant).clusters[1]?.tenant, undefined, 'empty and unquoted is nothing')
  t.equal(
    config(tenant, { TENANT: '7' }).clusters[1]?.tenant,
    '7',
    'the field, not the look of the value, says what it is',
  )
  t.equal(config(`${clusters}dns: &x\n  domain: \${D:-mesh.example}`).dns.domain, 'mesh.example')

  t.same(faultsOf(`dns:\n  listen: \${DNS}`), [
    `CONF_FIELD 10  dns.listen: the environment variable DNS is not set; set it, or write \${DNS:-default}`,
  ])
  t.same(faults(clusters.replace('cluster: one', `cluster: \${toString}`)), [
    `CONF_FIELD 1  cluster: the environment variable toString is not set; set it, or write \${toString:-default}`,
  ])
  for (const wrong of [`\${`, `\${DNS`, `\${}`, `\${1A}`, `\${A-b}`, `\${A:-\${B}}`, `\${A B}`]) {
    t.match(
      faultsOf(`dns:\n  listen: "${wrong}"`),
      [/^CONF_FIELD 10 {2}dns\.listen: ".*" is not a variable; write \$\{NAME\}/],
      wrong,
    )
  }
  t.match(faultsOf(`dns: { listen: \${DNS} }`), [/^CONF_FILE 9 .*; quote "\$\{\.\.\.\}" inside \{ \} and \[ \]/])
})

t.test('paths', async t => {
  const at = (path: string, env: Record<string, string> = {}) =>
    config(clusters.replace('./two', path), env).clusters[1]?.source
  t.same(at('two'), { manifests: resolve('conf/two') })
  t.same(at('../two'), { manifests: resolve('two') })
  t.same(at('/two'), { manifests: '/two' })
  t.same(at('~/two'), { manifests: '/home/luke/two' })
  t.same(at('~two'), { manifests: resolve('conf/~two') })
  t.match(faults(clusters.replace('./two', '"a\\0b"')), [/clusters\[1\]\.source\.manifests: "a\\u0000b" is not a path/])
  t.match(faults(clusters.replace('./two', '7')), [/clusters\[1\]\.source\.manifests: 7 is not a path/])
})

t.test('invalid YAML', async t => {
  t.same(faults(''), ['CONF_FILE 1  is empty; give at least `cluster` and `clusters`'])
  t.same(faults('# nothing\n---\n'), ['CONF_FILE 1  is empty; give at least `cluster` and `clusters`'])
  t.same(faults('- one'), ['CONF_FILE 1  is not a mapping of settings; begin with `cluster: NAME`'])
  t.same(faults(`${clusters}---\ncluster: two`), ['CONF_FILE 9  contains a second document; keep one, without ---'])
  t.match(faultsOf('dns:\n\tlisten: 1'), [/^CONF_FILE 10 {2}Tabs are not allowed as indentation/])
  t.match(faultsOf('dns: "x\n'), [/^CONF_FILE \d+ {2}Missing closing "quote/])
  t.match(faultsOf('dns: x: y'), [/^CONF_FILE 9 {2}has a mapping after a value; align the key, or quote/])
  t.match(faultsOf('dns: !secret x'), [/^CONF_FILE 9 {2}Unresolved tag: !secret/])
  t.match(faultsOf('? [a]\n: b'), [/^CONF_FILE 9 {2}has a key that is not a plain word/])
  t.same(faultsOf('dns: {}\ndns: {}'), ['CONF_FIELD 10  dns: is given twice; the first is on line 9'])
  t.same(
    faultsOf('dns: {}\n"\\u0064ns": {}'),
    ['CONF_FIELD 10  dns: is given twice; the first is on line 9'],
    'however written',
  )
  t.match(
    faultsOf('"a\\nb\\x1b": 1'),
    [/^CONF_FIELD 9 {2}\["a\\nb\\u001b"\]: is not a known key/],
    'a fault stays on its line',
  )
  const old = `%YAML 1.1\n---\n${clusters}proxy: { anyip: yes }`
  t.same(
    faults(old),
    ['CONF_FIELD 11  proxy.anyip: "yes" is neither true nor false'],
    'always by the rules of YAML 1.2',
  )
})

t.test('aliases are resolved within limits', async t => {
  const twice = config(`${clusters}health: { active: { interval: &slow 1m }, passive: { eject: *slow } }`)
  t.equal(twice.health.passive.eject, 60_000)
  t.same(faultsOf('dns: { ttl: *slow }'), [
    'CONF_FIELD 9  dns.ttl: "*slow" is not defined; mark an earlier value with &',
  ])
  t.same(faultsOf('dns: &dns { upstream: *dns }'), ['CONF_FILE 9  is nested too deeply; does an alias contain itself?'])
  const bomb = Array.from({ length: 20 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(10)}]`).join('\n')
  t.match(faultsOf(`a0: &a0 x\n${bomb}`), [/^CONF_FILE \d+ {2}expands to more than 50000 values; are aliases nested\?/])
  t.match(faultsOf(`dns: ${'['.repeat(20_000)}`), [/is nested too deep/])
  t.match(faultsOf(`dns: ${'['.repeat(40)}${']'.repeat(40)}`), [/^CONF_FILE 9 {2}is nested too deep/])
})

t.test('files', async t => {
  const folder = t.testdir({
    'good.yaml': clusters,
    'bom.yaml': `\ufeff${clusters}`,
    'latin1.yaml': Buffer.from('cluster: one\n# caf\xe9\nclusters: []\n', 'latin1'),
    'utf16.yaml': Buffer.from(`\ufeff${clusters}`, 'utf16le'),
    'large.yaml': '#'.repeat(1024 * 1024 + 1),
    'secret.yaml': clusters,
  })
  const loaded = await loadConfig(join(folder, 'good.yaml'))
  t.same(loaded.config.clusters[0]?.source, { manifests: join(folder, 'one') }, 'paths are relative to the file')
  t.equal(loaded.file, join(folder, 'good.yaml'))
  t.equal(loaded.placeOf(['cluster']), `${join(folder, 'good.yaml')}:1`)
  t.same((await loadConfig(join(folder, 'bom.yaml'))).config, loaded.config)

  const fails = async (file: string, message: string | RegExp) => {
    const error = await loadConfig(file).then(
      () => undefined,
      thrown => thrown,
    )
    t.type(error, ConfigError)
    t.type(error, MeshError)
    t.equal(error.code, 'CONF_FILE')
    t.match(error.message, message)
  }
  await fails(join(folder, 'none.yaml'), /^CONF_FILE {2}\S+none\.yaml {2}does not exist$/)
  await fails(join(folder, 'good.yaml/x'), 'does not exist')
  await fails(folder, 'is a folder; give a file in it')
  await fails('', 'does not exist')
  await fails('a\0b', 'cannot be read')
  await fails('/dev/zero', 'it is not a regular file')
  await fails(join(folder, 'large.yaml'), 'is larger than 1 MiB')
  await fails(join(folder, 'latin1.yaml'), /latin1\.yaml:2 {2}is not UTF-8/)
  await fails(join(folder, 'utf16.yaml'), /utf16\.yaml:1 {2}is not UTF-8/)

  chmodSync(join(folder, 'secret.yaml'), 0)
  const root = process.getuid?.() === 0
  if (root) process.seteuid?.(65_534)
  try {
    await fails(join(folder, 'secret.yaml'), 'may not be read by this user: change its owner or mode')
  } finally {
    if (root) process.seteuid?.(0)
  }
})

t.test('any text gives a configuration, or a ConfigError with one line per fault', async t => {
  const answers = (text: string) => {
    try {
      parseConfig(text, 'x.yaml', { A: text.slice(0, 5) })
      return true
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return error.faults.length > 0 && error.message.split(/[\n\r]/).length === error.faults.length
    }
  }
  const holds = (property: fc.IProperty<[string]>) => t.doesNotThrow(() => fc.assert(property, { numRuns: 200 }))

  const words = 'cluster clusters name source proxy dns true ~ 1 0x1 .nan -.inf __proto__ toString << { } [ ] " \' | #'
  const marks = ['- ', ': ', '? ', '\n', '\n  ', '---\n', '&a ', '*a ', '!!str ', `\${A}`, `\${`, `$\${`]
  const word = fc.constantFrom(...words.split(' '), ...marks)
  const sentence = fc.array(word, { maxLength: 60 }).map(chosen => chosen.join(''))
  holds(fc.property(fc.oneof(fc.string({ unit: 'binary' }), sentence), answers))

  const keys = 'cluster clusters dns proxy health plugins use options source etcd toString __proto__'.split(' ')
  const table = (value: fc.Arbitrary<unknown>) => fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 4 })
  const { tree } = fc.letrec<{ tree: unknown }>(tie => ({
    tree: fc.oneof(fc.jsonValue({ maxDepth: 0 }), fc.array(tie('tree'), { maxLength: 3 }), table(tie('tree'))),
  }))
  const settings = table(tree).map(value => JSON.stringify(value))
  holds(fc.property(settings, answers))
})

t.test('tunnels need certificates, and lead to other clusters', async t => {
  const given = (more: string, rest = '') =>
    `cluster: one\nclusters:\n  - { name: one, id: 1, source: { manifests: a } }\n  - { name: two, id: 2, source: { manifests: b }, ${more} }\n${rest}`
  const tls = 'tunnel: { certificates: ./tls }\n'
  const { clusters: parsed, tunnel } = config(
    given('route: tunnel, gateways: [gw.example, "192.0.2.1:9", "[2001:db8::1]:15008"]', tls),
  )
  t.same(
    parsed[1]?.gateways.map(({ text }) => text),
    ['gw.example:15008', '192.0.2.1:9', '[2001:db8::1]:15008'],
  )
  t.match(tunnel.certificates, /\/conf\/tls$/)
  t.same(config(given('route: tunnel', tls)).clusters[1]?.gateways, [], 'learned from its source')
  t.match(faults(given('route: tunnel, gateways: [a]')), [
    /clusters\[1\]\.route: needs certificates; set tunnel\.certif/,
  ])
  t.match(faults(given('gateways: ["a:0", "a b", ""]')), [/"a:0" is not a gateway; write HOST:15008/, /"a b"/, /""/])
  t.match(faults(given('identities: [spiffe://x]')), [/"spiffe:\/\/x" is not a SPIFFE id/])
  t.match(faults(given('trustDomain: "A B"')), [/"A B" is not a trust domain/])
  t.match(faults(given('id: 2', 'gateway: {}\n').replace(', id: 2 }', ' }')), [
    /gateway\.certificates: is missing, and `tunnel/,
  ])
  t.match(
    faults(
      `cluster: one\nclusters:\n  - { name: one, id: 1, source: { manifests: a }, route: tunnel, gateways: [a] }\n${tls}`,
    ),
    [/clusters\[0\]\.route: is for other clusters/],
  )
})

t.test('a text with more levels than the parser can follow is a fault', async t => {
  for (const levels of [20_000, 100_000]) {
    t.match(faults(`x:\n  ${'- '.repeat(levels)}a: b\n   c: d\ny: 1\n`), [/^CONF_FILE \d+ +is nested too deeply$/])
  }
})

/** Certificates of the configuration that end soon. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseConfig } from '../../../proxy/config/load.ts'
import { silentLog } from '../../../proxy/model/log.ts'
import { Certificates } from '../../../proxy/runtime/status/certificates.ts'
import { FakeClock } from '../../support/clock.ts'

const dayMs = 86_400_000
const hasOpenssl = spawnSync('openssl', ['version']).status === 0

t.test(
  'what ends within 14 days is a warning, what has ended an error',
  { skip: !hasOpenssl && 'no openssl' },
  async t => {
    const folder = t.testdir()
    const path = (name: string) => join(folder, name)
    const args = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=east']
    const made = spawnSync('openssl', ['req', ...args, '-days', '30', '-keyout', path('key'), '-out', path('cert.pem')])
    t.equal(made.status, 0, String(made.stderr))
    const data = readFileSync(path('cert.pem')).toString('base64')
    writeFileSync(
      path('kubeconfig'),
      JSON.stringify({
        kind: 'Config',
        'current-context': 'kind-2',
        clusters: [{ name: 'two', cluster: { server: 'https://127.0.0.1:1', 'certificate-authority-data': data } }],
        users: [{ name: 'me', user: { token: 'x' } }],
        contexts: [{ name: 'kind-2', context: { cluster: 'two', user: 'me' } }],
      }),
    )
    writeFileSync(path('east.yaml'), `endpoints: [https://127.0.0.1:2379]\ntrusted-ca-file: ${path('cert.pem')}\n`)
    const { config } = parseConfig(
      `cluster: one
clusters:
  - { name: one, id: 1, source: { manifests: ./one } }
  - { name: two, id: 2, source: { kubernetes: { kubeconfig: ${path('kubeconfig')} } } }
  - { name: east, id: 3, source: { etcd: { config: ${path('east.yaml')} } } }
`,
      path('starlane.yaml'),
      {},
    )
    const clock = new FakeClock()
    clock.jump(Date.now() - clock.wall())
    const certificates = new Certificates(() => config, { clock, random: Math.random, log: silentLog, env: {} })
    await certificates.start()
    t.same(certificates.problems(), [])
    clock.jump(17 * dayMs)
    const where = [`context kind-2 of ${path('kubeconfig')}`, path('cert.pem')]
    t.match(
      certificates.problems(),
      where.map(where => ({ severity: 'warning', where, message: /of CN=east ends on \S+, in 12 days; renew it/ })),
    )
    clock.jump(14 * dayMs)
    t.match(certificates.problems(), [{ severity: 'error', message: /ended on/ }, { severity: 'error' }])
    certificates.close()
    t.equal(clock.waiting, 0)
  },
)

t.test(
  'the roots of tunnels, those of one cluster, and the authority; while one is replaced the next one counts',
  { skip: !hasOpenssl && 'no openssl' },
  async t => {
    const folder = t.testdir({ tls: { roots: {} }, authority: {} })
    const path = (name: string) => join(folder, name)
    const make = (name: string, subject: string, days: number) => {
      const args = [
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        `/CN=${subject}`,
      ]
      const files = ['-days', `${days}`, '-keyout', path('key'), '-out', path(name)]
      t.equal(spawnSync('openssl', ['req', ...args, ...files]).status, 0)
      return readFileSync(path(name), 'utf8')
    }
    make('tls/ca.crt', 'shared', 10)
    make('tls/roots/two.crt', 'two', 5)
    make('tls/roots/stranger.crt', 'stranger', 1)
    make('authority/ca.crt', 'authority', 3)
    const { config } = parseConfig(
      `cluster: one
clusters:
  - { name: one, id: 1, source: { manifests: ./one } }
  - { name: two, id: 2, source: { manifests: ./two }, route: tunnel, gateways: ['10.0.0.1:15008'] }
tunnel: { certificates: ${path('tls')} }
gateway: { listen: 127.0.0.1:15008, authority: ${path('authority')} }
`,
      path('starlane.yaml'),
      {},
    )
    const clock = new FakeClock()
    clock.jump(Date.now() - clock.wall())
    const certificates = new Certificates(() => config, { clock, random: Math.random, log: silentLog, env: {} })
    await certificates.start()
    const found = () => certificates.problems().map(({ where, severity }) => [where.slice(folder.length + 1), severity])
    t.same(found().sort(), [
      ['authority/ca.crt', 'warning'],
      ['tls/ca.crt', 'warning'],
      ['tls/roots/two.crt', 'warning'],
    ])
    writeFileSync(path('tls/ca.crt'), readFileSync(path('tls/ca.crt'), 'utf8') + make('next.crt', 'shared', 400))
    writeFileSync(path('tls/roots/two.crt'), make('tls/roots/two.crt', 'two', 400).repeat(2))
    await certificates.start()
    t.same(found(), [['authority/ca.crt', 'warning']])
    certificates.close()
  },
)

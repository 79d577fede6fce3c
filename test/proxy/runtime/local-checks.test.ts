/** What `starlane validate` finds on this machine, without asking any server. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../../proxy/config/load.ts'
import { validate } from '../../../proxy/runtime.ts'

t.test(
  'kubeconfigs, contexts, certificate files, client files, empty folders and misspelt kinds are named',
  async t => {
    const folder = t.testdir({ one: {}, two: { 'a.yaml': 'apiVersion: v1\nkind: Sevice\nmetadata: { name: web }\n' } })
    const path = (name: string) => join(folder, name)
    mkdirSync(path('deep/empty'), { recursive: true })
    const kubeconfig = (ca: string) =>
      JSON.stringify({
        kind: 'Config',
        'current-context': 'kind-2',
        clusters: [{ name: 'two', cluster: { server: 'https://127.0.0.1:1', 'certificate-authority': ca } }],
        users: [{ name: 'me', user: { token: 'x' } }],
        contexts: [{ name: 'kind-2', context: { cluster: 'two', user: 'me' } }],
      })
    writeFileSync(path('kubeconfig'), kubeconfig(path('gone.crt')))
    writeFileSync(path('text.crt'), 'hello\n')
    writeFileSync(path('other'), kubeconfig('text.crt'))
    writeFileSync(path('etcd.yaml'), `endpoints: [https://127.0.0.1:2379]\ntrusted-ca-file: ${path('gone.pem')}\n`)
    const sources = {
      one: '{ manifests: ./one }',
      two: '{ manifests: ./two }',
      three: '{ kubernetes: { kubeconfig: ./kubeconfig } }',
      four: '{ kubernetes: { kubeconfig: ./kubeconfig, context: knd-2 } }',
      five: '{ kubernetes: { kubeconfig: ./nowhere } }',
      six: '{ kubernetes: { kubeconfig: ./other } }',
      seven: '{ etcd: { config: ./etcd.yaml } }',
      eight: '{ etcd: { config: ./nothing.yaml } }',
    }
    const clusters = Object.entries(sources).map(
      ([name, source], i) => `  - { name: ${name}, id: ${i + 1}, source: ${source} }`,
    )
    writeFileSync(path('starlane.yaml'), `cluster: one\nclusters:\n${clusters.join('\n')}\n`)
    const { problems } = await validate(await loadConfig(path('starlane.yaml'), {}), {})
    const said = (where: RegExp) => problems.filter(problem => where.test(problem.where)).map(({ message }) => message)
    t.match(said(/ one$/), [/has no manifests: put files that end in \.yaml/])
    t.match(said(/a\.yaml/), [/"Sevice" is not a kind that is read; did you mean "Service"/])
    t.match(said(/ three$/), [/gone\.crt does not exist; correct the path/])
    t.match(said(/ four$/), [/no context "knd-2"; did you mean "kind-2"/])
    t.match(said(/ five$/), [/there is no kubeconfig at .*nowhere; give its path/])
    t.match(said(/ six$/), [/text\.crt has no certificate; give a PEM file/])
    t.match(said(/ seven$/), [/gone\.pem does not exist/])
    t.match(said(/ eight$/), [/cannot read the client file/])
  },
)

t.test('programs and token files of kubeconfigs', async t => {
  const folder = t.testdir({ one: { 'a.yaml': '' }, bin: {}, token: 'secret' })
  const path = (name: string) => join(folder, name)
  writeFileSync(path('bin/login'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(path('bin/plain'), 'text\n', { mode: 0o644 })
  const exec = (command: string, more: object = {}) => ({
    exec: { apiVersion: 'client.authentication.k8s.io/v1', interactiveMode: 'Never', command, ...more },
  })
  const users: Record<string, object> = {
    found: exec('login'),
    path: exec(path('bin/login')),
    lost: exec('no-such-login', { installHint: 'get it from the wiki' }),
    plain: exec(path('bin/plain')),
    token: { tokenFile: path('token') },
    gone: { tokenFile: path('gone') },
  }
  for (const [name, user] of Object.entries(users)) {
    const config = {
      kind: 'Config',
      'current-context': 'it',
      clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'it', context: { cluster: 'c', user: 'u' } }],
    }
    writeFileSync(path(`${name}.config`), JSON.stringify(config))
  }
  const clusters = Object.keys(users).map(
    (name, i) => `  - { name: ${name}, id: ${i + 2}, source: { kubernetes: { kubeconfig: ./${name}.config } } }`,
  )
  const head = 'cluster: one\nclusters:\n  - { name: one, id: 1, source: { manifests: ./one } }\n'
  writeFileSync(path('starlane.yaml'), `${head}${clusters.join('\n')}\n`)
  const { problems } = await validate(await loadConfig(path('starlane.yaml'), {}), { PATH: path('bin') })
  t.match(problems, [
    { where: 'clusters lost', message: /"no-such-login", which is not on the PATH; get it from the wiki/ },
    { where: 'clusters plain', message: /plain", which cannot be run; install it/ },
    { where: 'clusters gone', message: /gone does not exist; correct the path/ },
  ])
  t.equal(problems.length, 3)
})

t.test('files of what is published, of tunnels and of the authority', async t => {
  const folder = t.testdir({
    one: { 'a.yaml': '' },
    tls: { 'tls.crt': 'hello', 'tls.key': 'x', 'ca.crt': 'x' },
    authority: {},
  })
  const file = join(folder, 'starlane.yaml')
  const problemsOf = async (rest: string) => {
    writeFileSync(file, `cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./one } }]\n${rest}`)
    return (await validate(await loadConfig(file, {}), {})).problems
  }
  t.match(
    await problemsOf(
      'publish: { endpoints: [https://127.0.0.1:2379], ca: ./ca.crt, cert: ./tls/tls.crt, key: ./tls/tls.key }\n',
    ),
    [
      { where: 'publish', message: /ca\.crt does not exist/ },
      { where: 'publish', message: /tls\.crt has no certificate/ },
    ],
  )
  t.match(await problemsOf('tunnel: { certificates: ./nowhere }\n'), [
    { code: 'CERTIFICATE', where: 'tunnel.certificates', message: /nowhere/ },
  ])
  const both = await problemsOf(
    'tunnel: { certificates: ./tls }\ngateway: { listen: 127.0.0.1:15008, certificates: ./tls, authority: ./authority }\n',
  )
  t.match(both, [
    { code: 'CERTIFICATE', where: 'tunnel.certificates', message: /tls\.crt/ },
    { where: 'gateway.authority', message: /ca\.crt does not exist/ },
    { where: 'gateway.authority', message: /ca\.key does not exist/ },
  ])
  t.equal(both.length, 3, 'a folder of both ends once')
})

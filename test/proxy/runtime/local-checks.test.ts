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

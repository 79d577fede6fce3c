/** `starlane bundle`: what is in the archive, and that no secret of the configuration is. */
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Redactor } from '../../../../proxy/cli/check/redact.ts'
import { base64, writeKubeconfig } from '../../../support/kube-api/kubeconfig.ts'
import { openStage } from '../stage.ts'

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const secrets = {
  token: 'a-token-of-a-person',
  password: 'correct horse battery',
  option: 'plugin-secret-0815',
  variable: 'from-the-environment',
  url: 'pa55:word',
  jwt: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzdGFybGFuZSJ9.c2lnbmF0dXJl',
}

t.test('the archive has what helps, and none of the secrets', async t => {
  const { run, admin } = await openStage(t, {
    // Whatever leaks into the answers of the process is removed there too.
    config: () => ({
      // What is not in the file too.
      proxy: { url: `http://someone:${encodeURIComponent(secrets.url)}@proxy.example` },
      plugins: [{ use: './mine.js', options: { apiKey: secrets.option, note: `uses ${secrets.variable}` } }],
      text: `Authorization: Bearer ${secrets.token} and ${secrets.jwt} and ${pem}`,
    }),
  })
  const folder = t.testdir({
    'etcd.key': pem,
    'starlane.yaml': `# our mesh, whose password is ${secrets.password}
cluster: a
clusters:
  - { name: a, id: 1, source: { kubernetes: { kubeconfig: ./kubeconfig } } }
  - { name: b, id: 2, source: { etcd: { endpoints: ["https://etcd.example:2379"], cert: ./etcd.crt, key: ./etcd.key } } }
plugins:
  - use: ./mine.js
    options: { password: "${secrets.password}", apiKey: ${secrets.option}, secret: "\${MY_SECRET}", kept: visible-value }
`,
  })
  writeKubeconfig(join(folder, 'kubeconfig'), [
    {
      ...{ name: 'kind-1', server: 'https://127.0.0.1:1' },
      user: { token: secrets.token, 'client-key-data': base64(pem), password: secrets.password },
    },
  ])
  const file = join(folder, 'bundle.tar.gz')
  const said = await run(`bundle --admin ${admin} -c ${join(folder, 'starlane.yaml')} -f ${file}`, {
    env: { MY_SECRET: secrets.variable, HOME: folder },
  })
  t.equal(said.code, 0, said.err)
  t.match(said.out, /bundle\.tar\.gz: \d+ files, /)
  t.equal(statSync(file).mode & 0o777, 0o600, 'for its owner alone')
  execFileSync('tar', ['-xzf', file, '-C', folder])
  const inside = join(folder, 'starlane-bundle')
  const names = readdirSync(inside)
  for (const name of [
    'version.json',
    'configuration.yaml',
    'check.json',
    'status.json',
    'services.json',
    'metrics.txt',
  ])
    t.ok(names.includes(name), name)
  const all = names.map(name => readFileSync(join(inside, name), 'utf8')).join('\n')
  const body = pem.split('\n')[1] ?? ''
  for (const [name, secret] of Object.entries({ ...secrets, key: body, 'key as base64': base64(pem).slice(40, 120) }))
    for (const form of [secret, encodeURIComponent(secret), base64(secret).replace(/=+$/, '')])
      t.notOk(all.includes(form), `${name} is not in it`)
  const configuration = readFileSync(join(inside, 'configuration.yaml'), 'utf8')
  t.match(configuration, /# our mesh, whose password is \[redacted\]\ncluster: a\n/, 'comments stay')
  t.match(configuration, /kept: visible-value/)
  t.match(configuration, /key: \.\/etcd\.key/, 'a path is no secret')
  t.match(all, /"apiKey": "\[redacted\]"/)
})

t.test('without a running Starlane, and to a place that cannot be written', async t => {
  const { run } = await openStage(t)
  const folder = t.testdir({})
  const file = join(folder, 'bundle.tar.gz')
  const alone = await run(`bundle -f ${file} --admin 127.0.0.1:1`)
  t.match(alone, { code: 0, err: /6 parts could not be had/ })
  t.match(execFileSync('tar', ['-tzf', file], { encoding: 'utf8' }), /starlane-bundle\/check\.json/)
  t.match(await run('bundle -f /nowhere/bundle.tar.gz'), { code: 1, err: /cannot write \/nowhere/ })
  t.match(await run('bundle --flows many'), { code: 2, err: /--flows many/ })
})

t.test('a configuration inside of a ConfigMap', async t => {
  const inner = 'plugins:\n  - options:\n      token: abc-not-known\n'
  const text = `kind: ConfigMap\ndata:\n  starlane.yaml: |\n${inner.replace(/^/gm, '    ').trimEnd()}\n`
  const redacted = new Redactor().yaml(text)
  t.notMatch(redacted, /abc-not-known/)
  t.match(redacted, /starlane\.yaml: \|/)
  writeFileSync(join(t.testdir({}), 'out.yaml'), redacted)
})

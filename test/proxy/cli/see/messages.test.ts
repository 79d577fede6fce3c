/** Messages of common mistakes: each says where it is and what to do. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runLine } from '../stage.ts'

t.test('a port beyond 65535, a Helm template, and the line of a plugin with a syntax error', async t => {
  const folder = t.testdir({
    one: {
      'a.yaml': 'apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name }}\n',
      'b.yaml': '{{- if .Values.web }}\napiVersion: v1\nkind: Service\nmetadata: { name: web }\n{{- end }}\n',
    },
    'a.ts': "export default {\n  name: 'a', options: {}\n  create: () => ({}),\n}\n",
    'b.mjs': "export default {\n  name: 'b',\n  options: {}\n  create: () => ({}),\n}\n",
  })
  const file = join(folder, 'starlane.yaml')
  const head = 'cluster: one\nclusters: [{ name: one, id: 1, source: { manifests: ./one } }]\n'
  const validate = async (rest: string) => {
    writeFileSync(file, head + rest)
    return (await runLine(['validate', '-c', file])).out
  }
  t.match(
    await validate('admin: { listen: 127.0.0.1:99999 }\n'),
    /:3 {2}admin\.listen: "127\.0\.0\.1:99999" has port 99999; the highest is 65535/,
  )
  const out = await validate('plugins: [{ use: ./a.ts }, { use: ./b.mjs }]\n')
  t.match(out, /a\.yaml:\d+ .*it is a template with \{\{ … \}\}, not a manifest; render it first: helm template CHART/)
  t.match(out, /b\.yaml:\d+ .*helm template CHART/)
  t.match(out, /a\.ts:3 cannot be imported: /)
  t.match(out, /b\.mjs:4 cannot be imported: /)
})

/** Whether a process of this test can be that of another user, who can run Node here. */
const nobody = { uid: 65_534, gid: 65_534 }
const cannotChange =
  process.getuid?.() !== 0 ||
  spawnSync(process.execPath, ['-e', "require('node:fs').readFileSync('bin/starlane.js')"], nobody).status !== 0

t.test(
  'files that this user may not read: a kubeconfig, manifests and the configuration itself',
  { skip: cannotChange && 'needs root, and a checkout that others may read' },
  async t => {
    const folder = mkdtempSync(join(tmpdir(), 'starlane-messages-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    chmodSync(folder, 0o755)
    const write = (name: string, text: string, mode: number) => {
      writeFileSync(join(folder, name), text)
      chmodSync(join(folder, name), mode)
    }
    const clusters = [
      { name: 'one', id: 1, source: { manifests: './one.yaml' } },
      { name: 'two', id: 2, source: { kubernetes: { kubeconfig: './config' } } },
    ]
    write('one.yaml', '', 0o600)
    write('config', '', 0o600)
    write('starlane.yaml', JSON.stringify({ cluster: 'one', clusters, plugins: [] }), 0o644)
    const run = () =>
      spawnSync(process.execPath, ['bin/starlane.js', 'validate', '-c', join(folder, 'starlane.yaml')], {
        ...nobody,
        encoding: 'utf8',
      })
    const { stdout, status } = run()
    const said = stdout.replaceAll(/\s+/g, ' ')
    const remedy = 'this user may not read it: change its owner or mode'
    t.match(said, new RegExp(`the kubeconfig cannot be read: EACCES: [^;]*; ${remedy}`))
    t.match(said, new RegExp(`one\\.yaml cannot be read: EACCES: [^;]*; ${remedy}`))
    t.equal(status, 1)
    chmodSync(join(folder, 'starlane.yaml'), 0o600)
    const closed = run()
    t.match(closed.stdout + closed.stderr, /starlane\.yaml +may not be read by this user: change its owner or mode/)
  },
)

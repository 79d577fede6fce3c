/** Messages of common mistakes: each says where it is and what to do. */
import { writeFileSync } from 'node:fs'
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

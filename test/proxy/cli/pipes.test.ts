/** A named pipe where a file is expected: an error at once, and nothing that waits for a writer. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { readClientFile } from '../../../proxy/clients/etcd/client-file.ts'
import { loadAccess } from '../../../proxy/clients/kubernetes/kubeconfig-files.ts'
import { runLine } from './stage.ts'

const folder = t.testdir({ manifests: {} })
const pipe = join(folder, 'pipe')
execFileSync('mkfifo', [pipe, join(folder, 'manifests', 'pipe.yaml')])
const why = /not a regular file/

t.test('the configuration', async t => {
  for (const command of ['validate', 'run']) {
    for (const file of [pipe, '/dev/zero']) {
      const { code, out, err } = await runLine([command, '-c', file])
      t.notOk(code === 0, command)
      t.match(out + err, why, command)
    }
  }
})

t.test('manifests', async t => {
  const file = join(folder, 'starlane.yaml')
  for (const [manifests, ends, message] of [
    [pipe, 1, /neither a file nor a folder/],
    [join(folder, 'manifests'), 0, /starlane\.yaml: good/],
  ] as const) {
    writeFileSync(file, stringify({ cluster: 'one', clusters: [{ name: 'one', id: 1, source: { manifests } }] }))
    const { code, out, err } = await runLine(['validate', '-c', file])
    t.equal(code, ends)
    t.match(out + err, message)
  }
})

t.test('kubeconfigs and client files', async t => {
  await t.rejects(loadAccess({ kubeconfig: pipe }, {}), { code: 'SOURCE_READ', message: why })
  await t.rejects(readClientFile(pipe), { code: 'SOURCE_READ', message: why })
})

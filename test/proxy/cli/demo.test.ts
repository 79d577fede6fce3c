/** The pods of `starlane demo`. */
import { execFileSync } from 'node:child_process'
import { copyFile, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Pods } from '../../../proxy/cli/demo/pods.ts'

t.test('a killed pod stays ready in its EndpointSlice, whatever the reconciliation was doing', async t => {
  const folder = t.testdir({})
  const manifest = join(folder, 'rebel-base.yaml')
  await copyFile('conf/demo/cluster-1/rebel-base.yaml', manifest)
  const text = await readFile(manifest, 'utf8')
  const pods = new Pods({ name: 'cluster-1', folder, network: '127.177.1.' })
  t.teardown(() => pods.close())
  await pods.start()
  const slice = await readFile(join(folder, 'endpointslice.yaml'), 'utf8')
  const wanted = pods.ready

  // A named pipe in place of the manifest: opening it returns once a reconciliation reads it, and holds that one up.
  execFileSync('mkfifo', [`${manifest}.pipe`])
  await rename(`${manifest}.pipe`, manifest)
  const pipe = await open(manifest, 'w')
  const killing = pods.kill()
  t.equal((await fetch('http://127.177.1.11:8080/')).status, 200, 'alive until the reconciliation is over')
  await pipe.writeFile(text)
  await pipe.close()
  t.equal((await killing).ip, '127.177.1.11')
  await t.rejects(fetch('http://127.177.1.11:8080/'))
  t.equal(pods.ready, wanted)
  t.equal(await readFile(join(folder, 'endpointslice.yaml'), 'utf8'), slice)
})

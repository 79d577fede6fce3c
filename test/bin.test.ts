import { spawnSync } from 'node:child_process'
import t from 'tap'

// The bin asks process.versions, so another Node is a matter of what stands there.
function starlaneOn(version: string) {
  const pretend = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '${version}' } })`
  return spawnSync(process.execPath, ['--import', pretend, 'bin/starlane.js', '--help'], { encoding: 'utf8' })
}

t.test('an old Node is told what is needed, in one line', async t => {
  for (const version of ['12.22.0', '20.20.2', '22.18.9']) {
    const { status, stdout, stderr } = starlaneOn(version)
    t.equal(status, 2, version)
    t.equal(stdout, '')
    t.match(stderr, new RegExp(`^starlane: needs Node 22\\.19 or newer, found ${version}: .*Node 24.*\\n$`))
  }
})

t.test('a Node that is new enough is not sent away', async t => {
  for (const version of ['22.19.0', '24.0.0']) t.notMatch(starlaneOn(version).stderr, /needs Node/)
})

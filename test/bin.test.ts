import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'

// The bin asks process.versions, so another Node is a matter of what stands there.
function starlaneOn(version: string) {
  const pretend = `data:text/javascript,Object.defineProperty(process, 'versions', { value: { node: '${version}' } })`
  return spawnSync(process.execPath, ['--import', pretend, 'bin/starlane.js', '--help'], { encoding: 'utf8' })
}

t.test('an old Node is told what is needed, in one line', async t => {
  for (const version of [
    '12.22.0',
    '20.20.2',
    '22.19.0',
    '22.23.1',
    '23.11.1',
    '24.0.0',
    '24.18.0',
    '25.9.0',
    '26.5.0',
  ]) {
    const { status, stdout, stderr } = starlaneOn(version)
    t.equal(status, 2, version)
    t.equal(stdout, '')
    t.match(
      stderr,
      new RegExp(
        `^starlane: needs Node 22\\.23\\.2, 24\\.18\\.1, 26\\.5\\.1 or newer in its line, found ${version}: .*Node 24.*\\n$`,
      ),
    )
  }
})

t.test('the floor is that of package.json, and the Node of the checkout is above it', async t => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.equal(engines.node, '^22.23.2 || ^24.18.1 || >=26.5.1')
  t.match(starlaneOn('1.0.0').stderr, /22\.23\.2, 24\.18\.1, 26\.5\.1/)
  t.notMatch(starlaneOn(process.versions.node).stderr, /needs Node/)
})

t.test('a Node that is new enough is not sent away', async t => {
  for (const version of ['22.23.2', '22.24.0', '24.18.1', '24.21.0', '26.5.1', '27.0.0'])
    t.notMatch(starlaneOn(version).stderr, /needs Node/)
})

/** The registry and name of the image are one setting: nothing that is shipped, and no page, spells another. */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { defaultImage, imageName } from '../../proxy/cli/kubernetes/image.ts'
import { filesWithImage } from '../../scripts/image.ts'
import { runLine } from '../proxy/cli/stage.ts'

t.test('overlays and chart have it: run "node scripts/image.ts"', async t => {
  for (const [path, text] of filesWithImage()) t.equal(readFileSync(path, 'utf8'), text, path)
  const other = filesWithImage(path => readFileSync(path, 'utf8').replaceAll(defaultImage, 'elsewhere.example/other:1'))
  for (const [path, text] of other) t.notMatch(text, 'elsewhere.example', `${path}: another one is found`)
  t.equal(parse(readFileSync('deploy/helm/values.yaml', 'utf8')).image.repository, imageName)
})

t.test('no other spelling in manifests, commands, scripts and pages', async t => {
  const files = globSync([
    ...['README.md', 'CONTRIBUTING.md', 'Dockerfile', 'docs/*.md', 'deploy/**/*.{md,yaml,json,txt}', 'plugins/**/*.md'],
    ...['proxy/cli/**/*.ts', 'scripts/**/*.ts', '.ci/run', 'package.json'],
  ])
  const allowed = new Set([defaultImage, 'REGISTRY/starlane:TAG'])
  let count = 0
  for (const file of files) {
    const text = readFileSync(file, 'utf8')
    const named = [
      // A tag or a digest behind a name that ends in starlane.
      ...text.matchAll(
        /(?<![\w./:-])((?:[\w.-]+(?::\d+)?\/)*starlane(?::(?:latest|TAG|VERSION|\d[\w.-]*)|@sha256\S*))/g,
      ),
      // What --image is given, and images of manifests.
      ...text.matchAll(/--image[ =]([\w.:/-]+)/g),
      ...text.matchAll(/\bimage: ([\w.:/-]*starlane[\w.:/-]*)$/gm),
    ]
    for (const [, image = ''] of named) {
      count++
      t.ok(allowed.has(image), `${file}: ${image}`)
    }
  }
  t.ok(count > 15, `${count} images`)
})

t.test('commands take it where none is named', async t => {
  const { out } = await runLine(['inject', '--patch', 'deployment'])
  t.match(out, `"image":"${defaultImage}"`)
  for (const command of ['install', 'inject', 'mesh enable'])
    t.match((await runLine([...command.split(' '), '--help'])).out.replace(/\s+/g, ' '), `(default: "${defaultImage}")`)
})

t.test('the base of the Dockerfile is the version of Node that the tests run with', async t => {
  const { devDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    devDependencies: Record<string, string>
  }
  const bases = [...readFileSync('Dockerfile', 'utf8').matchAll(/^FROM (\S+)/gm)].map(([, base]) => base)
  const version = devDependencies.node?.replace('^', '')
  const pinned = new RegExp(`^node:${version}-alpine@sha256:[0-9a-f]{64}$`)
  t.equal(bases.length, 2)
  for (const base of bases) t.match(base, pinned, 'by its digest')
  t.equal(new Set(bases).size, 1)
})

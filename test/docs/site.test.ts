/** The site has every page, its sources have no link that leads nowhere, and its build would find one. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { brokenLinks } from '../../site/links.ts'
import { sections, sitePath } from '../../site/pages.ts'

const listed = sections.flatMap(({ pages }) => pages.map(([path]) => path))

t.test('every page of docs and of the plugins is on the site, once', async t => {
  const pages = globSync(['docs/*.md', 'deploy/**/README.md', 'plugins/**/README.md', 'bench/results/**/*.md'])
  t.same(
    listed.toSorted(),
    [...pages, 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'].sort(),
    'list it in site/pages.ts',
  )
  t.equal(new Set(listed.map(sitePath)).size, listed.length)
})

/** The anchors of a page, as GitHub and the site make them of headings. */
function anchorsOf(text: string): Set<string> {
  const prose = text.replace(/```[\s\S]*?```/g, '')
  const found = new Map<string, number>()
  for (const [, heading = ''] of prose.matchAll(/^#{1,6} (.+)$/gm)) {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '')
    const slug = plain
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    const before = found.get(slug)
    found.set(slug, (before ?? 0) + 1)
    if (before !== undefined) found.set(`${slug}-${before}`, 1)
  }
  return new Set(found.keys())
}

t.test('every anchor is a heading of its page', async t => {
  let count = 0
  for (const page of [...listed, 'README.md']) {
    const text = readFileSync(page, 'utf8').replace(/```[\s\S]*?```/g, '')
    for (const [, target = '', anchor = ''] of text.matchAll(/\]\(([^)#\s]*)#([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const path = target === '' ? page : normalize(join(dirname(page), target))
      t.ok(anchorsOf(readFileSync(path, 'utf8')).has(anchor), `${page}: ${target}#${anchor}`)
      count++
    }
  }
  t.ok(count > 20, `${count} anchors`)
})

t.test('the build finds a link without a page, and an anchor without a heading', async t => {
  const site = t.testdir({
    'index.html': '<a href="/docs/a.html#one">a</a> <a href="docs/b.html">b</a> <a href="https://example.com/">c</a>',
    docs: { 'a.html': '<h2 id="one">One</h2> <a href="#two">two</a> <img src="../x.svg"> <a href="./a">itself</a>' },
  })
  t.same(brokenLinks(site).sort(), [
    'docs/a.html: #two leads to no heading',
    'docs/a.html: ../x.svg leads to no page',
    'index.html: docs/b.html leads to no page',
  ])
  t.match(brokenLinks(t.testdir({})), [/no page was built/])
})

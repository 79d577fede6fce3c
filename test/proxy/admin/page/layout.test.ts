/** The web page at any width and with any number of clusters. */
import t from 'tap'
import { Browser, skip } from '../../../support/browser/chromium.ts'
import { type MeshOptions, meshViews } from './mesh.ts'
import { desktop, show } from './show.ts'

/** What lies over another part of its row, or outside of it, in the rows in view. */
const collisions = `(() => {
  const found = []
  const boxOf = element => element.getBoundingClientRect()
  const shown = element => boxOf(element).width > 0 && boxOf(element).height > 0
  for (const row of document.querySelectorAll('.row')) {
    const frame = boxOf(row)
    const parts = [...row.querySelectorAll('.top, .toggle > .small, .chip, .figure')].filter(shown)
    for (const [i, part] of parts.entries()) {
      const a = boxOf(part)
      if (a.top < frame.top - 1 || a.bottom > frame.bottom + 1 || a.left < frame.left - 1 || a.right > frame.right + 1)
        found.push(part.textContent + ' is outside of its row')
      for (const other of parts.slice(i + 1)) {
        const b = boxOf(other)
        const over = Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1
        if (over) found.push(part.textContent + ' is over ' + other.textContent)
      }
    }
  }
  return found.slice(0, 3)
})()`

t.test('the page at any width', { skip }, async t => {
  const browser = await Browser.open()
  t.teardown(() => browser.close())

  const long = 'production-europe-west-'
  const meshes: Record<string, MeshOptions> = {
    'one cluster': { services: 40, clusters: 1, traffic: true },
    'three clusters': { services: 40, traffic: true },
    'six clusters': { services: 40, clusters: 6, traffic: true },
    'thirty clusters': { services: 40, clusters: 30, traffic: true },
    'five clusters with long names': { services: 40, clusters: 5, traffic: true, prefix: long },
  }
  for (const [name, options] of Object.entries(meshes)) {
    for (const width of [320, 390, 740, 820, 1024, 1180, 1280, 1920]) {
      await t.test(`${name}, ${width} px`, async t => {
        await show(t, browser, meshViews(options).views, '', { ...desktop, width })
        t.equal(await browser.evaluate('document.documentElement.scrollWidth'), width, 'nothing is wider than it')
        await browser.evaluate(`document.querySelector('#services-title').scrollIntoView()`)
        await browser.until(`document.querySelectorAll('.row').length > 3`)
        t.same(await browser.evaluate(collisions), [])
        t.same(browser.errors, [])
      })
    }
  }

  await t.test('with many clusters those in trouble and the busiest are shown, the others by a button', async t => {
    const { views, status } = meshViews({ services: 40, clusters: 30, traffic: true })
    const lost = { state: 'lost' as const, since: status.now - 1000, error: 'connect ECONNREFUSED' }
    const clusters = status.clusters.map(each => (each.name === 'cluster-29' ? { ...each, link: lost } : each))
    await show(t, browser, { ...views, status: () => ({ ...status, clusters }) })
    const names = `[...document.querySelectorAll('#there .title b, #there b.title')].map(each => each.firstChild.textContent)`
    const shown = [2, 3, 4, 5, 6, 7, 8, 29].map(n => `cluster-${n}`)
    t.same(await browser.evaluate(names), shown)
    await browser.evaluate(`document.querySelector('#there button').click()`)
    t.equal((await browser.evaluate<string[]>(names)).length, 29)
    t.equal(await browser.evaluate('document.activeElement.textContent'), 'Show fewer clusters', 'the focus stays')
    await browser.evaluate(`document.querySelector('#there button').click()`)
    t.same(await browser.evaluate(names), shown)
    t.match(
      await browser.evaluate(`document.querySelector('.row .place').lastElementChild.ariaLabel`),
      /^cluster-\d+: \d of \d fit; cluster-/,
      'the clusters without a place in the row are named',
    )
    t.same(browser.errors, [])
  })
})

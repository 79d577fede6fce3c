/** What the address of the page brings into view, and addresses that are wrong. */
import t from 'tap'
import { Browser, skip } from '../../../support/browser/chromium.ts'
import { meshViews } from './mesh.ts'
import { desktop, show } from './show.ts'

t.test('the address of the page', { skip }, async t => {
  const browser = await Browser.open()
  t.teardown(() => browser.close())

  const inView = `(box => box.top >= 0 && box.bottom <= innerHeight)(document.querySelector('.row.opened').getBoundingClientRect())`

  await t.test('an address that names a service brings its row into view, wherever it is', async t => {
    for (const width of [390, 1280]) {
      await show(t, browser, meshViews({ services: 3000, traffic: true }).views, '#media/stock-250?sort=name', {
        ...desktop,
        width,
      })
      await browser.until(`document.querySelector('.row.opened') && document.querySelector('.detail .steps')`)
      t.ok(await browser.evaluate(inView))
      await browser.evaluate(`(location.hash = '#shop/cart-200?sort=name')`)
      await browser.until(`document.querySelector('.row.opened .toggle')?.dataset.key === 'shop/cart-200'`)
      t.ok(await browser.evaluate(inView), 'and so does another one')
      t.equal(
        await browser.evaluate('(scrollTo(0, 0), drawAll(), scrollY)'),
        0,
        'who has scrolled away is left in peace by the next answer',
      )
      t.same(browser.errors, [])
    }
  })

  await t.test('an address with an error, or of a service that is gone, shows all', async t => {
    const { views } = meshViews({ services: 40, traffic: true })
    const shown = `document.querySelector('#shown').textContent`
    for (const [hash, text] of [
      ['#%', '40 services; there is no %'],
      ['#shop/gone', '40 services; there is no shop/gone'],
      ['#?state=worst&sort=size&open=x&group=', '40 services'],
      ['#a/b/c?%zz=%zz&find=%E0%A4', '0 of 40 services; there is no a/b/c'],
    ] as const) {
      await show(t, browser, views, hash)
      t.equal(await browser.evaluate(shown), text, hash)
      t.equal(await browser.evaluate(`document.querySelector('#sort').value`), 'state')
      t.same(browser.errors, [])
    }
  })
})

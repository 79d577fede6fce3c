/**
 * The web page in Chromium: what it shows and how it is used. With STARLANE_ARTEFACTS=DIR it leaves screenshots there, to look at.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Browser, skip } from '../../../support/browser/chromium.ts'
import { fixedViews, services } from '../fixture.ts'
import { meshViews } from './mesh.ts'
import { desktop, show } from './show.ts'

const artefacts = process.env.STARLANE_ARTEFACTS
const phone = { width: 390, height: 844 }

async function keep(browser: Browser, name: string): Promise<void> {
  if (!artefacts) return
  mkdirSync(artefacts, { recursive: true })
  writeFileSync(join(artefacts, `${name}.png`), await browser.screenshot())
}

const textOf = (selector: string) => `(document.querySelector(${JSON.stringify(selector)})?.innerText ?? '')`
const rowNames = `[...document.querySelectorAll('.row b')].map(each => each.textContent)`

t.test('the page in a browser', { skip }, async t => {
  const browser = await Browser.open()
  t.teardown(() => browser.close())
  const clean = (t: Test) => t.same(browser.errors, [], 'no error in the console, nothing blocked by the policy')

  await t.test('the small mesh: names are text, the service in the address is open', async t => {
    const hostile = { ...services[0], name: '<img src=x onerror=alert(1)>' } as (typeof services)[number]
    const all = [...services, hostile]
    await show(t, browser, fixedViews({ services: () => all }), '#default/rebel-base')
    await browser.until(`document.querySelector('.detail .steps') && document.querySelector('.detail .dot')`)
    t.equal(await browser.evaluate('document.title'), '⚠ 1 cluster lost · Starlane · cluster-1')
    t.match(await browser.evaluate(textOf('#verdict')), /1 cluster lost\s+1 service reduced\s+1 warning/)
    t.match(await browser.evaluate(textOf('#there')), /cluster-3\s+id 3\s+lost[\s\S]*stale in 9m 18s/)
    t.match(await browser.evaluate(textOf('.detail')), /round-robin chooses among cluster-1\/127\.1\.0\.11:8080\/TCP/)
    t.ok(await browser.evaluate(`document.querySelector('[aria-label="127.1.0.12:8080/TCP ejected, no new flows"]')`))
    t.equal(await browser.evaluate(`document.querySelectorAll('img').length`), 0)
    t.ok((await browser.evaluate<string[]>(rowNames)).includes('<img src=x onerror=alert(1)>'))
    t.equal(
      await browser.evaluate(`document.querySelectorAll('.lanes .live').length`),
      0,
      'nothing moves, so no lane does',
    )
    await keep(browser, 'small')
    const press = `document.querySelector('#verdict [data-state="lost"]').click()`
    await browser.evaluate(press)
    t.match(
      await browser.evaluate(textOf('#shown')),
      /^\d of 4 services$/,
      'those with backends in the cluster that is lost',
    )
    t.ok((await browser.evaluate<string[]>(rowNames)).includes('rebel-base'))
    t.equal(await browser.evaluate('location.hash'), '#default/rebel-base?state=lost')
    await browser.evaluate(press)
    t.equal(await browser.evaluate(textOf('#shown')), '4 services')
    await browser.evaluate(
      `(document.querySelector('.detail input').value = '10.0.0.9', document.querySelector('.detail form').requestSubmit())`,
    )
    await browser.until(`document.querySelector('.detail h4')?.textContent.startsWith('10.0.0.9 to')`)
    clean(t)
  })

  await t.test('one service', async t => {
    await show(t, browser, meshViews({ services: 1, traffic: true, calm: true }).views)
    t.equal(await browser.evaluate(textOf('#verdict')), 'All is well: 1 service can be reached.')
    t.equal(await browser.evaluate('document.title'), 'Starlane · cluster-1')
    await keep(browser, 'one')
    clean(t)
  })

  await t.test('300 services with traffic: trouble first, filters, lanes, an open row with its flows', async t => {
    const { views, status } = meshViews({ services: 300, traffic: true })
    await show(t, browser, views)
    t.equal(status.services.unreachable, 3)
    t.match(await browser.evaluate(textOf('.row .mark')), 'unreachable', 'the worst is on top')
    t.same(await browser.evaluate(`[...document.querySelectorAll('.lanes text')].map(each => each.textContent)`), [
      '113/s',
    ])
    t.equal(
      await browser.evaluate(`document.querySelectorAll('.lanes .live').length`),
      1,
      'to one of two: only where bytes move',
    )
    t.same(
      await browser.evaluate(`[...document.querySelectorAll('#service-map ul')].map(each => each.children.length > 2)`),
      [true, true, false],
      'clients, services and clusters',
    )
    t.match(await browser.evaluate(textOf('#map-clients')), /shop\/web-0\s+90\/s/)
    t.ok(await browser.evaluate(`document.querySelectorAll('.threads path').length > 10`))
    t.match(await browser.evaluate(textOf('.row:nth-child(6)')), /\d+\s+\d+\s+4\.0%\s+9 ms/)
    t.ok(await browser.evaluate(`document.querySelectorAll('.spark polyline').length > 5`))
    await keep(browser, '300')
    await browser.evaluate(`document.querySelector('#verdict button').click()`)
    await browser.until(`document.querySelectorAll('.row').length === 3`)
    t.equal(await browser.evaluate('location.hash'), '#?state=unreachable', 'the address can be shared')
    await browser.evaluate(`document.querySelector('.row .toggle').click()`)
    await browser.until(
      `document.querySelectorAll('.detail tbody tr').length > 3 && document.querySelector('.detail .why')`,
    )
    t.match(await browser.evaluate(textOf('.detail')), 'connect ECONNREFUSED', "the last check's error")
    t.match(await browser.evaluate(textOf('.detail')), 'shop/web-2', 'the flows of the service')
    await browser.evaluate(`scrollTo(0, document.querySelector('.detail').getBoundingClientRect().top + scrollY - 120)`)
    await keep(browser, '300-open')
    await browser.evaluate(`document.querySelector('#map-services button').click()`)
    await browser.until(`document.querySelector('.detail') && location.hash.startsWith('#shop/cart?find=cart')`)
    clean(t)
  })

  await t.test('the dark scheme, by namespace', async t => {
    await show(t, browser, meshViews({ services: 300, traffic: true }).views, '#?group=1&sort=traffic', {
      ...desktop,
      dark: true,
    })
    t.match(await browser.evaluate(textOf('.group')), /services\s+\d+ in trouble/)
    await keep(browser, '300-dark')
    clean(t)
  })

  await t.test('a phone: the clusters are chips under the names', async t => {
    await show(t, browser, meshViews({ services: 300, traffic: true }).views, '', phone)
    t.equal(
      await browser.evaluate('document.documentElement.scrollWidth'),
      phone.width,
      'nothing is wider than the screen',
    )
    await keep(browser, 'phone')
    await browser.evaluate(`scrollTo(0, document.querySelector('#rows').getBoundingClientRect().top + scrollY - 60)`)
    await browser.until(`document.querySelector('.chip .which')?.offsetWidth > 0`)
    await keep(browser, 'phone-rows')
    await browser.evaluate(`document.querySelector('#traffic').scrollIntoView()`)
    await keep(browser, 'phone-map')
    clean(t)
  })

  await t.test(
    '5,000 services: few rows in the document, sorted and found in no time, and changes alone are sent',
    async t => {
      const { views, services } = meshViews({ services: 5000, clusters: 8, traffic: true })
      const admin = await show(t, browser, views)
      await browser.evaluate(
        `scrollTo(0, document.querySelector('#table').getBoundingClientRect().top + scrollY - 200)`,
      )
      await browser.until(`document.querySelectorAll('.row').length > 5`)
      const rows = await browser.evaluate<number>(`document.querySelectorAll('.row').length`)
      t.ok(rows > 5 && rows < 60, `${rows} rows`)
      await keep(browser, '5000')
      t.ok(
        (await browser.evaluate<number>(`document.querySelector('#map').offsetHeight`)) < 600,
        'the clusters leave room for the services',
      )
      const ms = await browser.evaluate<number>(`(() => {
      const began = performance.now()
      const sort = document.querySelector('#sort')
      sort.value = 'name'
      sort.dispatchEvent(new Event('change'))
      return performance.now() - began
    })()`)
      t.ok(ms < 500, `sorted in ${Math.round(ms)} ms`)
      await browser.evaluate('scrollTo(0, document.documentElement.scrollHeight)')
      await browser.until(`document.querySelector('.row[aria-rowindex="5001"]')`)
      t.equal(
        await browser.evaluate(`document.querySelector('.sticky').getBoundingClientRect().bottom > 20`),
        true,
        'the heads stay in view',
      )
      await keep(browser, '5000-end')
      await browser.evaluate(
        `(document.querySelector('#find').value = '10.2.7.', document.querySelector('#find').dispatchEvent(new Event('input')))`,
      )
      t.match(await browser.evaluate(textOf('#shown')), /^\d{2,3} of 5,000 services$/)

      const first = (await (await fetch(`http://${admin.address}/v1/rows`)).json()) as {
        revision: string
        rows: unknown[]
      }
      t.equal(first.rows.length, 5000)
      const again = await fetch(`http://${admin.address}/v1/rows?since=${first.revision}`)
      t.same(await again.json(), { revision: first.revision, whole: false, rows: [], gone: [] })
      t.equal(services.length, 5000)
      clean(t)
    },
  )

  await t.test('everything dead', async t => {
    await show(t, browser, meshViews({ services: 300, dead: true }).views)
    t.match(await browser.evaluate(textOf('#verdict')), /300 services unreachable\s+2 clusters lost/)
    t.match(await browser.evaluate('document.title'), /^⚠ 300 services unreachable/)
    t.match(await browser.evaluate(`document.querySelector('#icon').href`), 'd9364a')
    await keep(browser, 'dead')
    clean(t)
  })

  await t.test('the process is gone: verdict, header, title and icon say so', async t => {
    const admin = await show(t, browser, meshViews({ services: 30, traffic: true, calm: true }).views)
    const calm = await browser.evaluate(`document.querySelector('#icon').href`)
    await admin.close()
    await browser.until(`!document.querySelector('#lost').hidden`)
    t.match(await browser.evaluate(textOf('#lost')), /^No answer from Starlane: .*What is below is from \d/)
    t.match(await browser.evaluate(textOf('#summary')), /cluster-1\s+no answer/)
    t.notMatch(await browser.evaluate(textOf('#summary')), 'ready')
    t.match(await browser.evaluate('document.title'), /^✕ no answer · Starlane/)
    t.not(await browser.evaluate(`document.querySelector('#icon').href`), calm)
    t.equal(await browser.evaluate(`document.querySelectorAll('.lanes .live').length`), 0)
    await keep(browser, 'gone')
    t.same(
      browser.errors.filter(error => !error.includes('ERR_CONNECTION_REFUSED')),
      [],
    )
  })

  await t.test('the keyboard alone', async t => {
    await show(t, browser, meshViews({ services: 300, traffic: true, calm: true }).views, '#?sort=name')
    await browser.press('/')
    t.equal(await browser.evaluate('document.activeElement.id'), 'find')
    await browser.evaluate(`document.querySelector('.row .toggle').focus()`)
    const at = 'document.activeElement.dataset.key'
    const first = await browser.evaluate(at)
    for (let i = 0; i < 40; i++) await browser.press('ArrowDown')
    const down = await browser.evaluate<string>(at)
    t.not(down, first)
    t.ok(
      await browser.evaluate(
        `(r => r.top >= 0 && r.bottom <= innerHeight)(document.activeElement.getBoundingClientRect())`,
      ),
      'in view',
    )
    await browser.press('Enter')
    await browser.until(`document.querySelector('.detail .steps')`)
    // Its height is known now, and it is higher than what is kept below the window.
    await browser.evaluate(`document.querySelector('.detail').style.minHeight = '1200px'`)
    await browser.until(
      `document.querySelector('.detail')?.offsetHeight >= 1200 && parseFloat(document.querySelector('#rows').style.height) > 300 * 52 + 1199`,
    )
    t.ok(
      await browser.evaluate(`document.querySelector('.detail') !== null`),
      'a panel that ends below the window stays',
    )
    t.equal(await browser.evaluate('location.hash'), `#${down}?sort=name`)
    t.equal(await browser.evaluate(at), down, 'the focus stays')
    t.match(
      await browser.evaluate(`document.activeElement.ariaLabel`),
      /^\S+\/\S+: ok; \d+ of \d+ backends? fit; .* connections a second/,
    )
    await browser.press('Escape')
    await browser.until(`!document.querySelector('.detail')`)
    await browser.press('End')
    t.equal(await browser.evaluate(`document.activeElement.closest('.row').ariaRowIndex`), '301')
    clean(t)
  })
})

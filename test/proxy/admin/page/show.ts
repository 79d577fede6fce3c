/** The page of an admin server that the test starts, in a browser. */
import type { Test } from 'tap'
import { type Admin, createAdmin } from '../../../../proxy/admin/server.ts'
import type { Views } from '../../../../proxy/admin/views.ts'
import { silentLog } from '../../../../proxy/model/log.ts'
import { systemClock } from '../../../../proxy/model/time/clock.ts'
import type { Browser, Viewport } from '../../../support/browser/chromium.ts'

export const desktop: Viewport = { width: 1280, height: 900 }

/** Resolves once the first answers are drawn. */
export async function show(
  t: Test,
  browser: Browser,
  views: Views,
  hash = '',
  viewport: Viewport = desktop,
): Promise<Admin> {
  const admin = createAdmin({ listen: { address: '127.0.0.1', port: 0 }, views, log: silentLog, clock: systemClock })
  await admin.start()
  t.teardown(() => admin.close())
  await browser.show(`http://${admin.address}/${hash}`, viewport)
  await browser.until(`document.querySelector('.fact:not(#lost-text)')`)
  return admin
}

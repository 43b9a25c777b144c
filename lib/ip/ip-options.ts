/**
 * Options: those of the IPv4 header (RFC 791 section 3.1, RFC 7126) and those of IPv6 hop-by-hop and
 * destination options headers (RFC 8200 section 4.2). None is acted on; their form is checked, and what
 * they themselves ask to be done when they are not known.
 *
 * A check returns OPTIONS_OK, or the reason (`optionsReason()`) and where it lies (`optionsPointer()`).
 */

import { IPV4_HEADER_LENGTH, IPV4_OPT_END, IPV4_OPT_LSRR, IPV4_OPT_NOP, IPV4_OPT_SSRR } from '../wire/ipv4.ts';
import {
  IPV6_OPT_PAD1, IPV6_OPT_PADN, IPV6_OPT_ROUTER_ALERT, OPTION_DISCARD, OPTION_REPORT, OPTION_SKIP, extLength,
} from '../wire/ipv6.ts';

export const OPTIONS_OK = 0;
/** An option runs out of its header, or is shorter than itself. */
export const OPTIONS_MALFORMED = 1;
/** IPv4: a source route. */
export const OPTIONS_SOURCE_ROUTE = 2;
/** IPv6: an unknown option: drop the packet; report it always; report it unless it went to many. */
export const OPTIONS_DISCARD = 3;
export const OPTIONS_REPORT = 4;
export const OPTIONS_REPORT_UNICAST = 5;

/** One of the reasons above, of what a check returned. */
export function optionsReason(result: number): number {
  return result & 7;
}

/** Offset in the slab of the byte that a check found wrong. */
export function optionsPointer(result: number): number {
  return result >>> 3;
}

/** Checks the options of the IPv4 header at `at` of `headerLength` bytes. */
export function checkIpv4Options(view: DataView, at: number, headerLength: number): number {
  const end = at + headerLength;
  for (let i = at + IPV4_HEADER_LENGTH; i < end;) {
    const type = view.getUint8(i);
    if (type === IPV4_OPT_END) break;
    if (type === IPV4_OPT_NOP) {
      i++;
      continue;
    }
    const length = i + 1 < end ? view.getUint8(i + 1) : 0;
    if (length < 2 || i + length > end) return OPTIONS_MALFORMED | (i << 3);
    // Dropped unless asked for (RFC 7126 section 4.3, Linux's accept_source_route = 0).
    if (type === IPV4_OPT_LSRR || type === IPV4_OPT_SSRR) return OPTIONS_SOURCE_ROUTE | (i << 3);
    i += length;
  }
  return OPTIONS_OK;
}

/** Checks the options header at `at`; it must lie wholly before the packet's end. */
export function checkIpv6Options(view: DataView, at: number): number {
  const end = at + extLength(view, at);
  for (let i = at + 2; i < end;) {
    const type = view.getUint8(i);
    if (type === IPV6_OPT_PAD1) {
      i++;
      continue;
    }
    const next = i + 1 < end ? i + 2 + view.getUint8(i + 1) : end + 1;
    if (next > end) return OPTIONS_MALFORMED | (i << 3);
    if (type !== IPV6_OPT_PADN && type !== IPV6_OPT_ROUTER_ALERT) {
      const action = type >>> 6;
      if (action === OPTION_DISCARD) return OPTIONS_DISCARD | (i << 3);
      if (action === OPTION_REPORT) return OPTIONS_REPORT | (i << 3);
      if (action !== OPTION_SKIP) return OPTIONS_REPORT_UNICAST | (i << 3);
    }
    i = next;
  }
  return OPTIONS_OK;
}

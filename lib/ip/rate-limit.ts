/**
 * A token bucket for ICMP errors (RFC 4443 section 2.4 (f), RFC 1812 4.3.2.8); Linux's defaults are
 * icmp_msgs_per_sec 1000 and icmp_msgs_burst 50. One bucket for all destinations.
 */
export class TokenBucket {
  readonly perSecond: number;
  readonly burst: number;
  private tokens: number;
  private lastUs = 0;

  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond;
    this.burst = burst;
    this.tokens = burst;
  }

  /** Takes a token; false when there is none. */
  take(nowUs: number): boolean {
    if (nowUs > this.lastUs) {
      this.tokens = Math.min(this.burst, this.tokens + ((nowUs - this.lastUs) * this.perSecond) / 1e6);
      this.lastUs = nowUs;
    }
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}

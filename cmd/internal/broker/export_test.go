package broker

// RemoveExpired runs retention now instead of within the hour.
func (b *Broker) RemoveExpired() { b.removeExpired() }

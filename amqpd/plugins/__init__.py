"""Plugins: packages that are installed beside amqpd and add to it through entry points.

An exchange type is an entry point of the group `amqpd.exchange_types`: its name is the type's, its object a class as
core/exchanges/base.ExchangeType describes it. conf/plugins/round_robin is a whole one.
"""

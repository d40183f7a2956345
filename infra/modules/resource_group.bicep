// A resource group with its budget: what a stage costs is what its group costs.
targetScope = 'subscription'

param name string
param location string
param tags object

@description('In the currency of the billing account, a month.')
param monthlyBudget int
@description('The first day of a month; it cannot change once the budget exists.')
param budgetStart string
param alertEmails array

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: name
  location: location
  tags: tags
}

module budget 'budget.bicep' = {
  name: 'budget'
  scope: group
  params: {
    amount: monthlyBudget
    start: budgetStart
    emails: alertEmails
  }
}

output name string = group.name
